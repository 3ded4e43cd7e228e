//! Pure: the desired kernel state of a view of networks, and what separates the kernel from it.

pub mod connections;
pub mod diff;
pub mod foreign;
pub mod mesh;
pub mod networks;
pub mod overlay;
pub mod ports;
pub mod ruleset;
pub mod served;
pub mod slots;
pub mod spread;
pub mod turn;
