//! Tests of chains.

use shoal_base::random::SystemRandom;
use shoal_model::cluster::node::NodeRole;
use shoal_model::error::Chain;

use super::*;
use crate::root::{Root, Signer};
use crate::testing::{CLUSTER, DAY, NOW, certificates, identity, node, root};

fn verdict(chain: &str, bundle: &str, cluster: ClusterId, now: Timestamp) -> String {
    let roots = Trust::new(bundle).unwrap().roots;
    match verify(&certificates(chain), &roots, Some(cluster), now) {
        Ok(facts) => format!("{:?}", facts.identity.role),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_verdict_names_the_node_and_the_clocks() {
    let root = root();
    let bundle = root.certificate().to_owned();
    let signer = Signer::new(root, String::new()).unwrap();
    let (chain, _) = node(&signer, identity(NodeRole::Manager), NOW);
    let id = crate::testing::NODE;
    let other = ClusterId::from_bytes([9; 16]);
    assert_eq!(
        [
            verdict(&chain, &bundle, CLUSTER, NOW),
            verdict(&chain, &bundle, CLUSTER, NOW.after(90 * DAY)),
            verdict(&chain, &bundle, CLUSTER, Timestamp::from_parts(NOW.seconds() - 7200, 0)),
            verdict(&chain, &bundle, other, NOW),
            verdict(&chain, crate::testing::root().certificate(), CLUSTER, NOW),
        ],
        [
            "Manager".to_owned(),
            format!(
                "certificate of node `{id}` expired on 2027-02-19T00:00:00Z and it is 2027-02-19T00:00:00Z here"
            ),
            format!(
                "certificate of node `{id}` is valid from 2026-11-20T23:00:00Z on and it is \
                 2026-11-20T22:00:00Z here: the clock of this host is behind, or the clock of the manager that \
                 signed it is ahead"
            ),
            format!("certificate of node `{id}` is of cluster `{CLUSTER}`, not of `{other}`"),
            format!("certificate of node `{id}` is not signed by the root of the cluster"),
        ]
    );
    let roots = Trust::new(&bundle).unwrap().roots;
    assert!(matches!(verify(&[], &roots, None, NOW), Err(Error::Empty)));
}

#[test]
fn an_authority_that_only_borrows_the_name_is_not_trusted_and_the_cause_is_kept() {
    let signer = Signer::new(root(), String::new()).unwrap();
    let (chain, _) = node(&signer, identity(NodeRole::Manager), NOW);
    let roots = Trust::new(root().certificate()).unwrap().roots;
    let error = verify(&certificates(&chain), &roots, Some(CLUSTER), NOW).unwrap_err();
    let text = Chain(&error).to_string();
    assert!(text.contains("invalid peer certificate"), "{text}");
}

/// All phases of a turn: who trusts which roots, and which certificate a peer shows.
#[test]
fn in_a_turn_to_a_new_root_everyone_believes_everyone() {
    let (old, new) = (root(), root());
    let crossed = old.cross_sign(&new, NOW, &SystemRandom).unwrap();
    let (old_pem, new_pem) = (old.certificate().to_owned(), new.certificate().to_owned());
    let both = format!("{old_pem}{new_pem}");
    let new_key = new.key_pem().unwrap();
    let before = Signer::new(old, String::new()).unwrap();
    let during = Signer::new(new, crossed).unwrap();
    let after = Signer::new(Root::load(&new_pem, &new_key, NOW).unwrap(), String::new()).unwrap();
    let chain = |signer| node(signer, identity(NodeRole::Manager), NOW).0;
    let (before, during, after) = (chain(&before), chain(&during), chain(&after));
    let seen = |bundle: &str| {
        [&before, &during, &after].map(|chain| verdict(chain, bundle, CLUSTER, NOW) == "Manager")
    };
    assert_eq!(seen(&old_pem), [true, true, false], "has not heard of the new root");
    assert_eq!(seen(&both), [true, true, true], "in the turn");
    assert_eq!(seen(&new_pem), [false, true, true], "after the turn");
}

#[test]
fn the_issuer_is_found_by_signature_since_roots_share_a_name() {
    let (old, new) = (root(), root());
    let crossed = old.cross_sign(&new, NOW, &SystemRandom).unwrap();
    let bundle = format!("{}{}", old.certificate(), new.certificate());
    let (old_key, new_key) = (old.public_key(), new.public_key());
    let subject = old.subject();
    let before = Signer::new(old, String::new()).unwrap();
    let during = Signer::new(new, crossed).unwrap();
    let found = |signer| {
        let (chain, _) = node(signer, identity(NodeRole::Worker), NOW);
        issuer(&certificates(&chain), &bundle)
    };
    assert_eq!(found(&before), Some((subject.clone(), old_key)));
    assert_eq!(found(&during), Some((subject, new_key)));
    let stranger = Signer::new(root(), String::new()).unwrap();
    assert_eq!(found(&stranger), None);
}

#[test]
fn an_expired_certificate_holds_for_renewal_until_the_grace_ends() {
    let root = root();
    let roots = Trust::new(root.certificate()).unwrap().roots;
    let signer = Signer::new(root, String::new()).unwrap();
    let (chain, _) = node(&signer, identity(NodeRole::Worker), NOW);
    let chain = certificates(&chain);
    let at = |now| verify_expired(&chain, &roots, CLUSTER, now);
    let end = NOW.after(90 * DAY);
    assert_eq!(at(end.after(365 * DAY)).unwrap().identity, identity(NodeRole::Worker));
    assert!(at(NOW).is_ok(), "a certificate that is still good is no obstacle");
    assert!(matches!(at(end.after(GRACE)), Err(Error::BeyondGrace { .. })));
    let stranger = Trust::new(crate::testing::root().certificate()).unwrap().roots;
    let forged = verify_expired(&chain, &stranger, CLUSTER, end);
    assert!(matches!(forged, Err(Error::NotTrusted { .. })));
}

#[test]
fn a_bundle_without_a_root_is_refused() {
    assert!(matches!(Trust::new("hello"), Err(TrustError::Pem(_))));
}
