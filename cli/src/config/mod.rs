//! Files of the user: contexts and credentials.

pub(crate) mod auth;
pub(crate) mod contexts;
