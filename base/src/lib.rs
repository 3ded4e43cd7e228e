//! What effects need and the simulator replaces: clock, tasks, blocking work, child commands, disk, randomness;
//! and streams as one.

pub mod blocking;
pub mod clock;
pub mod command;
pub mod disk;
pub mod merge;
pub mod random;
pub mod single;
pub mod tasks;

pub use clock::{Clock, SharedClock, SystemClock};
pub use disk::{Disk, SharedDisk, SystemDisk};
