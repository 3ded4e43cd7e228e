//! Members over real connections.

mod basics;
mod changes;
mod faults;
mod full_disk;
mod old_disk;
mod power;
mod support;
