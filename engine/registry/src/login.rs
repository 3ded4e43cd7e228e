//! Login: are these credentials good, and does the registry give a refresh token for them?
//!
//! Source: moby `daemon/pkg/registry/auth.go` `loginV2`, `service.go` `Auth`.

use http::{Method, StatusCode};

use shoal_model::reference::DEFAULT_DOMAIN;

use crate::client::Client;
use crate::credentials::Credentials;
use crate::endpoint::{self, Access};
use crate::error::Error;
use crate::session::Session;

/// A login that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// A refresh token to keep in place of the password; empty when the registry gives none.
    pub identity_token: String,
}

impl Client {
    /// Checks credentials at a registry. `server` is as the user wrote it: a host, a URL, or empty for
    /// docker.io.
    ///
    /// # Errors
    /// When the registry refuses them ([`shoal_model::ErrorKind::Unauthorized`]) or cannot be reached.
    pub async fn login(&self, server: &str, credentials: &Credentials) -> Result<Login, Error> {
        let domain = domain_of(server);
        let settings = self.settings();
        let endpoints =
            endpoint::lookup(domain, Access::Push, &settings.mirrors, &settings.insecure).await;
        let mut last = None;
        for endpoint in endpoints {
            let session = self.session(endpoint, credentials, None).await?;
            match attempt(&session, credentials).await {
                Err(error) if error.is_connect() => last = Some(error),
                other => return other,
            }
        }
        Err(last.expect("a registry has at least one endpoint"))
    }
}

async fn attempt(session: &Session, credentials: &Credentials) -> Result<Login, Error> {
    let request = session.request(Method::GET, "/v2/")?;
    let ping = session.send_bare(&request).await?;
    let refresh = match ping.status {
        StatusCode::UNAUTHORIZED => {
            let grant = session.login_grant(&ping).await?;
            grant.map(|grant| grant.refresh_token).unwrap_or_default()
        }
        _ => String::new(),
    };
    let response = session.send_any(request).await?;
    if response.status != StatusCode::OK {
        let (url, status) = (response.url.to_string(), response.status);
        return Err(Error::Login { url, status });
    }
    // Without a new refresh token an old one stays good.
    let identity_token =
        if refresh.is_empty() { credentials.identity_token.clone() } else { refresh };
    Ok(Login { identity_token })
}

/// The registry's domain in what users and the CLI's credential store call it.
fn domain_of(server: &str) -> &str {
    let bare = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://"));
    let bare = bare.unwrap_or(server);
    let host = bare.split('/').next().unwrap_or_default();
    match host {
        "" | "index.docker.io" | "registry-1.docker.io" => DEFAULT_DOMAIN,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_registries() {
        for (server, domain) in [
            ("", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("docker.io", "docker.io"),
            ("r.example:5000", "r.example:5000"),
            ("http://r.example:5000/v2/", "r.example:5000"),
        ] {
            assert_eq!(domain_of(server), domain, "{server}");
        }
    }
}
