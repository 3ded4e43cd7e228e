//! Objects of the model as bytes: MessagePack with named fields (ADR 0004).

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that are not what they should be.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names of the fields say it")]
pub enum Error {
    #[error("failed to read a {what} from {length} bytes")]
    Decode {
        what: &'static str,
        length: usize,
        #[source]
        source: rmp_serde::decode::Error,
    },
    #[error("an id has {length} bytes instead of 16")]
    Id { length: usize },
}

/// Writes an object.
///
/// # Panics
/// Never for types of the model: all of them are plain data, and memory is the only sink.
pub fn encode<T: Serialize>(object: &T) -> Bytes {
    rmp_serde::to_vec_named(object).expect("plain data fits MessagePack").into()
}

/// Reads an object; `what` names it in the error.
///
/// # Errors
/// When the bytes are not such an object.
pub fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Error> {
    rmp_serde::from_slice(bytes).map_err(|source| Error::Decode {
        what,
        length: bytes.len(),
        source,
    })
}

/// The sixteen bytes of an id.
///
/// # Errors
/// When there are not sixteen.
pub fn id(bytes: &[u8]) -> Result<[u8; 16], Error> {
    bytes.try_into().map_err(|_| Error::Id { length: bytes.len() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_model::cluster::{Task, TaskId};

    #[test]
    fn damage_is_an_error_that_names_the_object() {
        let error = decode::<Task>("task", b"\xc1").unwrap_err();
        assert_eq!(error.to_string(), "failed to read a task from 1 bytes");
        let error = id(b"abc").unwrap_err();
        assert_eq!(error.to_string(), "an id has 3 bytes instead of 16");
    }

    #[test]
    fn ids_are_sixteen_bytes() {
        let written = TaskId::from_bytes([7; 16]);
        assert_eq!(id(&written.to_bytes()).unwrap(), [7; 16]);
        assert_eq!(decode::<TaskId>("id", &encode(&written)).unwrap(), written);
    }
}
