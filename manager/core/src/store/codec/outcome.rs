//! What became of a transaction, as a frame.

use serde::{Deserialize, Serialize};
use shoal_model::cluster::{TaskId, Version};

use super::{Error, FORMAT, body, pack, unpack};
use crate::store::{Applied, Rejected};

const FRAME: &str = "outcome";

/// What the proposer of an applied transaction learns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Accepted {
    /// Version of all that was put.
    pub version: Version,
    /// Tasks whose reported status came too late and was dropped.
    pub late: Vec<TaskId>,
}

impl From<&Applied> for Accepted {
    fn from(applied: &Applied) -> Self {
        Self { version: applied.version, late: applied.late.clone() }
    }
}

/// What became of a transaction.
pub type Outcome = Result<Accepted, Rejected>;

/// Encodes an outcome.
///
/// # Errors
/// When MessagePack cannot express it.
pub fn encode_outcome(outcome: &Outcome) -> Result<Vec<u8>, Error> {
    let mut out = vec![FORMAT];
    pack(&mut out, outcome, FRAME)?;
    Ok(out)
}

/// Decodes an outcome.
///
/// # Errors
/// When the bytes are damaged or of a newer format.
pub fn decode_outcome(bytes: &[u8]) -> Result<Outcome, Error> {
    unpack(body(bytes, FRAME)?, FRAME)
}
