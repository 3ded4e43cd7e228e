//! Who the user is to a registry. Given with each call, never stored by the daemon.
//!
//! Source: moby `api/types/registry` AuthConfig (the decoded `X-Registry-Auth` header).

use std::fmt;

use sha2::{Digest as _, Sha256};

/// Decoded credentials. All empty: anonymous.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User name; empty when there is none.
    pub username: String,
    /// Password or personal token.
    pub password: String,
    /// Refresh token of an earlier login; takes the place of user and password at the token server.
    pub identity_token: String,
    /// A bearer token to send as it is; no token server is asked.
    pub registry_token: String,
}

impl Credentials {
    /// User and password, if a user is named.
    pub(crate) fn basic(&self) -> Option<(&str, &str)> {
        (!self.username.is_empty()).then_some((&self.username, &self.password))
    }

    /// Tells credentials apart in the token cache without keeping them there.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for field in [&self.username, &self.password, &self.identity_token, &self.registry_token] {
            hasher.update(u64::try_from(field.len()).unwrap_or(u64::MAX).to_le_bytes());
            hasher.update(field);
        }
        hasher.finalize().into()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Credentials");
        shown.field("username", &self.username);
        shown.field("password", &!self.password.is_empty());
        shown.field("identity_token", &!self.identity_token.is_empty());
        shown.field("registry_token", &!self.registry_token.is_empty()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_secrets() {
        let credentials = Credentials {
            username: "ann".to_owned(),
            password: "hunter2".to_owned(),
            ..Credentials::default()
        };
        assert_eq!(
            format!("{credentials:?}"),
            "Credentials { username: \"ann\", password: true, identity_token: false, \
             registry_token: false }"
        );
    }

    #[test]
    fn fingerprints_do_not_run_fields_together() {
        let of = |username: &str, password: &str| {
            Credentials {
                username: username.to_owned(),
                password: password.to_owned(),
                ..Credentials::default()
            }
            .fingerprint()
        };
        assert_ne!(of("ab", "c"), of("a", "bc"));
        assert_eq!(of("a", "b"), of("a", "b"));
    }
}
