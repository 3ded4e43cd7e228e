//! What the user may change about the authority: its root, its tokens, its signers.
//!
//! Pure. Source: swarmkit `manager/controlapi/ca_rotation.go` `validateCAConfig`; the texts are swarmkit's, which
//! docker shows.

use std::time::Duration;

use shoal_base::random::Random;
use shoal_identity::{JoinToken, Root, UnlockKey, peer, pem, root};
use shoal_model::Timestamp;
use shoal_model::cluster::Cluster;
use shoal_model::cluster::manager::{CaConfig, JoinTokens, RootCa, RootRotation};
use shoal_model::cluster::node::NodeRole;
use shoal_model::error::{Classified, ErrorKind};

/// A root that a user gives must live at least so long.
const ROOT_LIFE_MIN: Duration = Duration::from_secs(365 * 24 * 3600);

/// A change is refused.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("if a signing CA key is provided, the signing CA cert must also be provided")]
    KeyWithoutCertificate,
    #[error("the desired CA certificate cannot contain multiple certificates")]
    Several,
    #[error("could not parse the desired CA certificate")]
    Certificate(#[source] root::Error),
    #[error("CA certificate expires too soon")]
    ExpiresSoon,
    #[error("Cannot update to a cert with an identical key")]
    SameKey,
    #[error(
        "there must be at least one valid, reachable external CA corresponding to the {which} CA certificate"
    )]
    NoExternal { which: &'static str },
    #[error("rotating from one external CA to a different external CA is not supported")]
    ExternalToExternal,
    #[error("rotating from an external CA whose key is not given to another root is not supported")]
    ExternalCrossSign,
    #[error("protocol `{protocol}` of external CA `{url}` is not known: only `cfssl` is")]
    Protocol { protocol: String, url: String },
    #[error("failed to make the new root")]
    Make(#[source] root::Error),
    #[error("unable to generate a cross-signed certificate for root rotation")]
    CrossSign(#[source] root::Error),
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Make(_) | Self::CrossSign(_) => ErrorKind::Internal,
            Self::ExternalCrossSign => ErrorKind::NotImplemented,
            _ => ErrorKind::InvalidArgument,
        }
    }
}

/// What is to be stored, after the checks that need the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The cluster's root from then on.
    pub root: RootCa,
    /// Of each of these at least one must be reachable.
    pub reachable: Vec<Externals>,
}

/// Signers outside the cluster for one root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Externals {
    /// PEM of the root.
    pub root: String,
    /// Docker's word for it in messages.
    pub which: &'static str,
    /// Where they listen.
    pub urls: Vec<String>,
}

/// The root of a new cluster, with its tokens.
///
/// # Errors
/// When no key can be made.
pub fn initial(now: Timestamp, random: &dyn Random) -> Result<RootCa, root::Error> {
    let root = Root::generate(now, random)?;
    let token = || JoinToken::generate(root.digest(), random).to_string();
    Ok(RootCa {
        certificate: root.certificate().to_owned(),
        key: root.key_pem().unwrap_or_default(),
        issuer_subject: root.subject(),
        issuer_public_key: root.public_key(),
        digest: root::digest_text(root.certificate().as_bytes()),
        join_tokens: JoinTokens { worker: token(), manager: token() },
        rotation: None,
        last_forced_rotation: 0,
    })
}

/// The root with a new token for one role; the old one is dead from then on.
pub fn rotate_token(root: &RootCa, role: NodeRole, random: &dyn Random) -> RootCa {
    let mut root = root.clone();
    let digest = root::digest(root.certificate.as_bytes());
    let token = JoinToken::generate(digest, random).to_string();
    match role {
        NodeRole::Worker => root.join_tokens.worker = token,
        NodeRole::Manager => root.join_tokens.manager = token,
    }
    root
}

/// The cluster with the unlock key that its spec asks for: a new one when locking begins, none when it ends.
pub fn lock(cluster: &Cluster, random: &dyn Random) -> Cluster {
    match (cluster.spec.autolock, cluster.unlock_key.is_empty()) {
        (true, true) => rotate_unlock_key(cluster, random),
        (false, false) => Cluster {
            unlock_key: Vec::new(),
            unlock_key_version: cluster.unlock_key_version + 1,
            ..cluster.clone()
        },
        _ => cluster.clone(),
    }
}

/// The cluster with another unlock key.
pub fn rotate_unlock_key(cluster: &Cluster, random: &dyn Random) -> Cluster {
    Cluster {
        unlock_key: UnlockKey::generate(random).as_bytes().to_vec(),
        unlock_key_version: cluster.unlock_key_version + 1,
        ..cluster.clone()
    }
}

/// Decides what a changed spec (already in `cluster`) means for the root.
///
/// # Errors
/// When the spec asks for something that cannot be.
pub fn configure(cluster: &Cluster, now: Timestamp, random: &dyn Random) -> Result<Plan, Error> {
    let (config, present) = (&cluster.spec.ca, &cluster.root);
    known_protocols(config)?;
    if !config.signing_key.is_empty() && config.signing_cert.is_empty() {
        return Err(Error::KeyWithoutCertificate);
    }
    let wanted = if config.signing_cert.is_empty() { None } else { Some(wanted(config, now)?) };
    let mut reachable = Vec::new();
    let gives_present_key = wanted.as_ref().is_some_and(|wanted| {
        wanted.certificate() == present.certificate && wanted.key_pem().is_some()
    });
    if present.key.is_empty() && !gives_present_key {
        reachable.push(externals(config, present, &present.certificate, "current")?);
    }
    let root = match wanted {
        None if config.force_rotate == present.last_forced_rotation => {
            if let Some(rotation) = present.rotation.as_ref().filter(|next| next.key.is_empty()) {
                reachable.push(externals(config, present, &rotation.certificate, "next")?);
            }
            present.clone()
        }
        None => {
            let new = Root::generate(now, random).map_err(Error::Make)?;
            turn(cluster, &new, now, random)?
        }
        Some(wanted) => {
            if wanted.key_pem().is_none() {
                reachable.push(externals(config, present, wanted.certificate(), "desired")?);
            }
            towards(cluster, &wanted, now, random)?
        }
    };
    Ok(Plan { root, reachable })
}

fn known_protocols(config: &CaConfig) -> Result<(), Error> {
    match config.external.iter().find(|external| external.protocol != "cfssl") {
        None => Ok(()),
        Some(external) => {
            Err(Error::Protocol { protocol: external.protocol.clone(), url: external.url.clone() })
        }
    }
}

fn wanted(config: &CaConfig, now: Timestamp) -> Result<Root, Error> {
    let wanted = Root::load(&config.signing_cert, &config.signing_key, now);
    let wanted = wanted.map_err(|error| match error {
        root::Error::NotOne { .. } => Error::Several,
        error => Error::Certificate(error),
    })?;
    if wanted.not_after() < now.after(ROOT_LIFE_MIN) { Err(Error::ExpiresSoon) } else { Ok(wanted) }
}

/// The signers of one root; those that name no root are of the present one.
fn externals(
    config: &CaConfig,
    present: &RootCa,
    root: &str,
    which: &'static str,
) -> Result<Externals, Error> {
    let urls = urls(config, present, root);
    if urls.is_empty() {
        return Err(Error::NoExternal { which });
    }
    Ok(Externals { root: root.to_owned(), which, urls })
}

/// Where the signers of one root listen.
pub fn urls(config: &CaConfig, present: &RootCa, root: &str) -> Vec<String> {
    let certificates = |text: &str| pem::certificates(text.as_bytes()).ok();
    let wanted = certificates(root);
    let of_root = |named: &str| {
        let named = if named.is_empty() { &present.certificate } else { named };
        wanted.is_some() && certificates(named) == wanted
    };
    let fitting = config.external.iter().filter(|external| of_root(&external.ca_cert));
    fitting.map(|external| external.url.clone()).collect()
}

/// The root after the user asked for `wanted`.
fn towards(
    cluster: &Cluster,
    wanted: &Root,
    now: Timestamp,
    random: &dyn Random,
) -> Result<RootCa, Error> {
    let (present, asked) = (&cluster.root, cluster.spec.ca.force_rotate);
    let key = wanted.key_pem().unwrap_or_default();
    let mut root = RootCa { last_forced_rotation: asked, ..present.clone() };
    if wanted.certificate() == present.certificate {
        root.key = key;
        root.rotation = None;
        root.issuer_subject = wanted.subject();
        root.issuer_public_key = wanted.public_key();
        return Ok(root);
    }
    let same_key = |certificate: &str| {
        pem::certificates(certificate.as_bytes())
            .ok()
            .and_then(|found| peer::name_and_key(&found[0]).ok())
            .is_some_and(|(_, key)| key == wanted.public_key())
    };
    if same_key(&present.certificate) {
        return Err(Error::SameKey);
    }
    if let Some(rotation) = &mut root.rotation
        && rotation.certificate == wanted.certificate()
    {
        rotation.key = key;
        return Ok(root);
    }
    turn(cluster, wanted, now, random)
}

/// Begins a turn; one that is under way is replaced.
fn turn(
    cluster: &Cluster,
    new: &Root,
    now: Timestamp,
    random: &dyn Random,
) -> Result<RootCa, Error> {
    let present = &cluster.root;
    let key = new.key_pem().unwrap_or_default();
    if present.key.is_empty() {
        let both = key.is_empty();
        return Err(if both { Error::ExternalToExternal } else { Error::ExternalCrossSign });
    }
    let old = Root::load(&present.certificate, &present.key, now).map_err(Error::CrossSign)?;
    let cross_signed = old.cross_sign(new, now, random).map_err(Error::CrossSign)?;
    let certificate = new.certificate().to_owned();
    Ok(RootCa {
        issuer_subject: new.subject(),
        issuer_public_key: new.public_key(),
        rotation: Some(RootRotation { certificate, key, cross_signed }),
        last_forced_rotation: cluster.spec.ca.force_rotate,
        ..present.clone()
    })
}

#[cfg(test)]
#[path = "configure_tests.rs"]
mod tests;
