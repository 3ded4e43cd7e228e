//! Members over real connections.

mod basics;
mod changes;
mod faults;
mod support;
