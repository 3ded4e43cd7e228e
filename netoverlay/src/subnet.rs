//! Subnets are a word of the model: the API checks what a user writes with the same arithmetic.

pub use shoal_model::subnet::{Invalid, Subnet};
