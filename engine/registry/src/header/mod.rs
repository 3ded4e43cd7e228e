//! The three response headers with a grammar of their own. Pure.

pub(crate) mod challenge;
pub(crate) mod link;
pub(crate) mod range;
