//! Ids of the cluster's objects: 25 digits in base 36, sixteen bytes in memory.
//!
//! Source: swarmkit `identity/randomid.go` (length and alphabet).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Digits of an id; 36²⁵ is just above 2¹²⁸, so that every value fits.
pub const ID_LENGTH: usize = 25;
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

fn format(mut value: u128) -> [u8; ID_LENGTH] {
    let mut text = [b'0'; ID_LENGTH];
    for digit in text.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(value % 36).unwrap_or(0)];
        value /= 36;
    }
    text
}

fn parse(text: &str) -> Option<u128> {
    if text.len() != ID_LENGTH {
        return None;
    }
    text.bytes().try_fold(0u128, |value, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'z' => byte - b'a' + 10,
            _ => return None,
        };
        value.checked_mul(36)?.checked_add(u128::from(digit))
    })
}

/// A value in two halves, the high one first: in the order of the values, but to be laid beside others without gaps, which
/// counts where there are a million.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Halves(u64, u64);

impl Halves {
    #[allow(clippy::cast_possible_truncation, reason = "the two halves")]
    const fn new(value: u128) -> Self {
        Self((value >> 64) as u64, value as u64)
    }

    const fn value(self) -> u128 {
        ((self.0 as u128) << 64) | self.1 as u128
    }
}

macro_rules! base36_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Halves);

        impl $name {
            /// From 16 random bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Halves::new(u128::from_be_bytes(bytes)))
            }

            /// The value as bytes, in the order of the text.
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.value().to_be_bytes()
            }

            /// From exactly 25 digits in base 36; `None` when it is something else.
            pub fn parse(text: &str) -> Option<Self> {
                parse(text).map(|value| Self(Halves::new(value)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(std::str::from_utf8(&format(self.0.value())).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            /// Text in readable formats, sixteen bytes in binary ones.
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_bytes(&self.to_bytes())
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize(deserializer).map(|value| Self(Halves::new(value)))
            }
        }
    )*};
}

fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
    struct Visitor;

    impl de::Visitor<'_> for Visitor {
        type Value = u128;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an id of 25 digits in base 36, or sixteen bytes")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u128, E> {
            parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
        }

        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<u128, E> {
            let bytes = bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))?;
            Ok(u128::from_be_bytes(bytes))
        }
    }

    if deserializer.is_human_readable() {
        deserializer.deserialize_str(Visitor)
    } else {
        deserializer.deserialize_bytes(Visitor)
    }
}

base36_id! {
    /// A cluster.
    ClusterId;
    /// A node.
    NodeId;
    /// A service.
    ServiceId;
    /// A task.
    TaskId;
    /// A network of the cluster (those of one host have a [`crate::NetworkId`]).
    ClusterNetworkId;
    /// A secret.
    SecretId;
    /// A config.
    ConfigId;
    /// A worker's session with a manager.
    SessionId;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_25_digits_and_comes_back() {
        for value in [0, 1, 35, 36, u128::MAX] {
            let id = TaskId(Halves::new(value));
            let text = id.to_string();
            assert_eq!(text.len(), ID_LENGTH);
            assert_eq!(TaskId::parse(&text), Some(id));
        }
        assert_eq!(TaskId(Halves::new(36)).to_string(), "0000000000000000000000010");
    }

    #[test]
    fn text_order_is_value_order() {
        assert!(TaskId(Halves::new(35)) < TaskId(Halves::new(36)));
        assert!(TaskId(Halves::new(35)).to_string() < TaskId(Halves::new(36)).to_string());
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "1",
            "000000000000000000000000A",
            "zzzzzzzzzzzzzzzzzzzzzzzzz",
            "00000000000000000000000000",
        ] {
            assert_eq!(NodeId::parse(text), None, "{text}");
        }
    }
}
