//! Tests of the root's settings.

use shoal_base::random::SystemRandom;
use shoal_model::cluster::manager::ExternalCa;

use super::*;
use crate::ca::testing::{NOW, cluster};

fn plan(cluster: &Cluster) -> Result<Plan, String> {
    configure(cluster, NOW, &SystemRandom).map_err(|error| error.to_string())
}

fn external(url: &str, root: &str) -> ExternalCa {
    ExternalCa {
        protocol: "cfssl".to_owned(),
        url: url.to_owned(),
        ca_cert: root.to_owned(),
        ..ExternalCa::default()
    }
}

fn wish(cluster: &mut Cluster, root: &Root) {
    cluster.spec.ca.signing_cert = root.certificate().to_owned();
    cluster.spec.ca.signing_key = root.key_pem().unwrap_or_default();
}

fn new_root() -> Root {
    Root::generate(NOW, &SystemRandom).unwrap()
}

#[test]
fn without_a_wish_nothing_changes() {
    let cluster = cluster();
    assert_eq!(plan(&cluster), Ok(Plan { root: cluster.root, reachable: Vec::new() }));
}

#[test]
fn a_forced_turn_makes_a_root_once() {
    let mut cluster = cluster();
    cluster.spec.ca.force_rotate = 1;
    let root = plan(&cluster).unwrap().root;
    let rotation = root.rotation.clone().unwrap();
    assert_eq!((&root.certificate, root.last_forced_rotation), (&cluster.root.certificate, 1));
    assert_ne!(rotation.certificate, root.certificate);
    let new = Root::load(&rotation.certificate, &rotation.key, NOW).unwrap();
    assert_eq!(
        (&root.issuer_subject, &root.issuer_public_key),
        (&new.subject(), &new.public_key())
    );
    cluster.root = root.clone();
    assert_eq!(plan(&cluster).unwrap().root, root, "the same wish again begins no other turn");
}

#[test]
fn a_root_of_the_user_begins_a_turn_and_the_present_one_ends_it() {
    let mut cluster = cluster();
    let (old, new) = (cluster.root.clone(), new_root());
    wish(&mut cluster, &new);
    cluster.root = plan(&cluster).unwrap().root;
    assert_eq!(cluster.root.rotation.as_ref().unwrap().certificate, new.certificate());
    assert_eq!(plan(&cluster).unwrap().root, cluster.root, "the same wish again");
    cluster.spec.ca.signing_cert = old.certificate.clone();
    cluster.spec.ca.signing_key = old.key.clone();
    assert_eq!(plan(&cluster).unwrap().root, old);
}

#[test]
fn wishes_that_cannot_be_are_refused_in_swarmkits_words() {
    let refusal = |change: &dyn Fn(&mut Cluster)| {
        let mut cluster = cluster();
        change(&mut cluster);
        plan(&cluster).unwrap_err()
    };
    let (new, other) = (new_root(), new_root());
    let old = Timestamp::from_parts(NOW.seconds() - 19 * 365 * 24 * 3600 - 24 * 3600, 0);
    let dying = Root::generate(old, &SystemRandom).unwrap();
    assert_eq!(
        [
            refusal(&|cluster| cluster.spec.ca.signing_key = "key".to_owned()),
            refusal(&|cluster| {
                wish(cluster, &new);
                cluster.spec.ca.signing_cert = new.certificate().repeat(2);
            }),
            refusal(&|cluster| {
                wish(cluster, &new);
                cluster.spec.ca.signing_key = other.key_pem().unwrap();
            }),
            refusal(&|cluster| wish(cluster, &dying)),
            refusal(&|cluster| {
                wish(cluster, &new);
                cluster.spec.ca.signing_key = String::new();
            }),
            refusal(&|cluster| cluster.root.key = String::new()),
            refusal(&|cluster| {
                cluster.spec.ca.external =
                    vec![ExternalCa { protocol: "acme".to_owned(), ..external("https://a", "") }];
            }),
        ],
        [
            "if a signing CA key is provided, the signing CA cert must also be provided",
            "the desired CA certificate cannot contain multiple certificates",
            "could not parse the desired CA certificate",
            "CA certificate expires too soon",
            "there must be at least one valid, reachable external CA corresponding to the desired CA certificate",
            "there must be at least one valid, reachable external CA corresponding to the current CA certificate",
            "protocol `acme` of external CA `https://a` is not known: only `cfssl` is",
        ]
    );
}

#[test]
fn external_signers_belong_to_the_root_they_name_or_to_the_present_one() {
    let mut cluster = cluster();
    let new = new_root();
    cluster.spec.ca.external =
        vec![external("https://a", ""), external("https://b", new.certificate())];
    wish(&mut cluster, &new);
    cluster.spec.ca.signing_key = String::new();
    let made = plan(&cluster).unwrap();
    let urls = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>();
    let desired = Externals {
        root: new.certificate().to_owned(),
        which: "desired",
        urls: urls(&["https://b"]),
    };
    assert_eq!(made.reachable, [desired]);
    assert_eq!(made.root.rotation.unwrap().key, "");

    cluster.root.key = String::new();
    assert_eq!(
        plan(&cluster).unwrap_err(),
        "rotating from one external CA to a different external CA is not supported"
    );
}

#[test]
fn a_token_is_replaced_for_one_role() {
    let root = cluster().root;
    let after = rotate_token(&root, NodeRole::Worker, &SystemRandom);
    assert_ne!(after.join_tokens.worker, root.join_tokens.worker);
    assert_eq!(after.join_tokens.manager, root.join_tokens.manager);
    let digest = *JoinToken::parse(&after.join_tokens.worker).unwrap().digest();
    assert_eq!(digest, root::digest(root.certificate.as_bytes()));
}

#[test]
fn the_lock_follows_the_spec_and_each_change_has_a_version() {
    let mut cluster = cluster();
    assert_eq!(lock(&cluster, &SystemRandom), cluster);
    cluster.spec.autolock = true;
    let locked = lock(&cluster, &SystemRandom);
    assert_eq!((locked.unlock_key.len(), locked.unlock_key_version), (32, 1));
    assert_eq!(lock(&locked, &SystemRandom), locked);
    let rotated = rotate_unlock_key(&locked, &SystemRandom);
    assert_ne!(rotated.unlock_key, locked.unlock_key);
    let mut open = rotated;
    open.spec.autolock = false;
    let open = lock(&open, &SystemRandom);
    assert_eq!((open.unlock_key.len(), open.unlock_key_version), (0, 3));
}
