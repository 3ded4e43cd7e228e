//! Versions of the API.

use std::fmt;
use std::str::FromStr;

/// `major.minor`, ordered by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// Always 1 so far.
    pub major: u16,
    /// e.g. 55.
    pub minor: u16,
}

/// The newest version we speak.
pub const MAX: ApiVersion = ApiVersion::new(55);
/// The oldest version we speak.
pub const MIN: ApiVersion = ApiVersion::new(40);

impl ApiVersion {
    /// `1.minor`.
    pub const fn new(minor: u16) -> Self {
        Self { major: 1, minor }
    }

    /// Whether it is `1.minor` or newer.
    pub const fn at_least(self, minor: u16) -> bool {
        self.major > 1 || (self.major == 1 && self.minor >= minor)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A text that is not `number.number`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid API version `{0}`")]
pub struct InvalidVersion(pub String);

impl FromStr for ApiVersion {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| digits.parse().ok()).flatten()
        };
        let parsed = text
            .split_once('.')
            .and_then(|(major, minor)| Some(Self { major: number(major)?, minor: number(minor)? }));
        parsed.ok_or_else(|| InvalidVersion(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_by_number_and_refuses_other_texts() {
        assert!("1.9".parse::<ApiVersion>().unwrap() < ApiVersion::new(40));
        for text in ["", "1", "1.", ".4", "v1.40", "1.4.2", "1.-4", "1.+4", "1.99999999"] {
            assert_eq!(text.parse::<ApiVersion>(), Err(InvalidVersion(text.to_owned())));
        }
    }
}
