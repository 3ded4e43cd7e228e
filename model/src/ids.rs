//! Ids of the engine's objects: 64 hex digits, chosen at random.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// From 32 random bytes.
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(crate::Digest::from_sha256(bytes).hex())
            }

            /// From text that must be 64 lower-case hex digits; `None` when it is not.
            pub fn parse(text: &str) -> Option<Self> {
                crate::Digest::from_hex(text).ok().map(|_| Self(text.to_owned()))
            }

            /// All 64 digits.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The first twelve digits, as tables and host names show them.
            pub fn short(&self) -> &str {
                &self.0[..12]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

hex_id!(
    /// A container.
    ContainerId
);
hex_id!(
    /// An additional process in a running container.
    ExecId
);
hex_id!(
    /// A network of one host.
    NetworkId
);
