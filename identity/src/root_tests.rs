//! Tests of roots and signing.

use shoal_base::random::SystemRandom;
use x509_parser::extensions::ParsedExtension;

use super::*;
use crate::request::NodeKey;
use crate::testing::{DAY, NOW, certificates, identity, node, root};

fn signed(role: NodeRole, expiry: Duration) -> CertificateDer<'static> {
    let signer = Signer::new(root(), String::new()).unwrap();
    let request = NodeKey::generate().unwrap().request().unwrap();
    let issue = Issue { identity: identity(role), expiry, now: NOW };
    certificates(&signer.sign(&request, issue, &SystemRandom).unwrap()).remove(0)
}

fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let parsed = peer::parse(certificate).unwrap();
    let extension = parsed.subject_alternative_name().unwrap().unwrap();
    extension.value.general_names.iter().map(ToString::to_string).collect()
}

#[test]
fn a_root_says_what_swarmkits_root_says() {
    let root = root();
    let parsed = peer::parse(&root.der).unwrap();
    assert_eq!(parsed.subject().to_string(), "CN=swarm-ca");
    assert_eq!(parsed.issuer().to_string(), "CN=swarm-ca");
    let life = parsed.validity().not_after.timestamp() - parsed.validity().not_before.timestamp();
    assert_eq!(life, 20 * 365 * 24 * 3600 + 3600);
    assert_eq!(parsed.validity().not_before.timestamp(), NOW.seconds() - 3600);
    assert!(parsed.is_ca());
    assert_eq!(root.digest(), digest(root.certificate().as_bytes()));
}

#[test]
fn a_nodes_certificate_says_who_it_is_and_for_how_long() {
    let certificate = signed(NodeRole::Manager, 90 * DAY);
    let parsed = peer::parse(&certificate).unwrap();
    let id = crate::testing::NODE.to_string();
    let cluster = crate::testing::CLUSTER.to_string();
    assert_eq!(parsed.subject().to_string(), format!("O={cluster}, OU=swarm-manager, CN={id}"));
    assert_eq!(parsed.issuer().to_string(), "CN=swarm-ca");
    assert_eq!(
        names(&certificate),
        ["swarm-manager", &id, "swarm-ca"].map(|name| format!("DNSName({name})"))
    );
    assert_eq!(parsed.validity().not_before.timestamp(), NOW.seconds() - 3600);
    assert_eq!(parsed.validity().not_after.timestamp(), NOW.after(90 * DAY).seconds());
    assert!(!parsed.is_ca());
    let usage = parsed.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
    let extended = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.client_auth && extended.server_auth && !extended.any);
}

#[test]
fn a_worker_lacks_the_authoritys_name() {
    let id = crate::testing::NODE.to_string();
    assert_eq!(
        names(&signed(NodeRole::Worker, DAY)),
        ["swarm-worker", &id].map(|name| format!("DNSName({name})"))
    );
}

#[test]
fn a_life_has_an_hour_at_least_and_ends_with_the_root() {
    let end = |expiry| {
        let certificate = signed(NodeRole::Worker, expiry);
        peer::facts(&certificate).unwrap().not_after
    };
    assert_eq!(end(Duration::ZERO), NOW.after(EXPIRY_MIN));
    assert_eq!(end(ROOT_LIFE + DAY), NOW.after(ROOT_LIFE));
}

#[test]
fn what_a_request_asks_for_besides_its_key_is_ignored() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["swarm-manager".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::OrganizationalUnitName, "swarm-manager");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let request = params.serialize_request(&key).unwrap().pem().unwrap();
    let signer = Signer::new(root(), String::new()).unwrap();
    let issue = Issue { identity: identity(NodeRole::Worker), expiry: DAY, now: NOW };
    let certificate = certificates(&signer.sign(&request, issue, &SystemRandom).unwrap()).remove(0);
    assert_eq!(peer::facts(&certificate).unwrap().identity, identity(NodeRole::Worker));
    assert!(!peer::parse(&certificate).unwrap().is_ca());
    assert_eq!(names(&certificate)[0], "DNSName(swarm-worker)");
}

#[test]
fn a_root_survives_its_text() {
    let made = root();
    let read = Root::load(made.certificate(), &made.key_pem().unwrap(), NOW).unwrap();
    assert_eq!(read.certificate(), made.certificate());
    assert_eq!(read.key_pem(), made.key_pem());
    let keyless = Root::load(made.certificate(), "", NOW).unwrap();
    assert!(matches!(Signer::new(keyless, String::new()), Err(Error::NoKey)));
}

#[test]
fn bad_roots_are_refused_with_the_reason() {
    let good = root();
    let key = good.key_pem().unwrap();
    let refusal = |certificate: &str, key: &str, now| {
        Root::load(certificate, key, now).unwrap_err().to_string()
    };
    let signer = Signer::new(root(), String::new()).unwrap();
    let (leaf, _) = node(&signer, identity(NodeRole::Manager), NOW);
    let crossed = root().cross_sign(&good, NOW, &SystemRandom).unwrap();
    let two = good.certificate().repeat(2);
    assert_eq!(
        [
            refusal("hello", &key, NOW),
            refusal(&two, &key, NOW),
            refusal(&leaf, &key, NOW),
            refusal(&crossed, &key, NOW),
            refusal(good.certificate(), "hello", NOW),
            refusal(good.certificate(), &root().key_pem().unwrap(), NOW),
            refusal(good.certificate(), &key, Timestamp::from_parts(0, 0)),
            refusal(good.certificate(), &key, NOW.after(ROOT_LIFE)),
        ],
        [
            "failed to read the root certificate",
            "root must be one certificate, not 2",
            "root certificate is not one of a certificate authority",
            "root certificate is not signed by itself",
            "failed to read the key of the root",
            "key is not that of the root certificate",
            "root certificate is valid from 2026-11-20T23:00:00Z to 2046-11-16T00:00:00Z only, and it is \
             1970-01-01T00:00:00Z here",
            "root certificate is valid from 2026-11-20T23:00:00Z to 2046-11-16T00:00:00Z only, and it is \
             2046-11-16T00:00:00Z here",
        ]
    );
}

#[test]
fn a_root_of_the_user_may_have_a_longer_name_and_another_curve() {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let mut params = authority(NOW, NOW.after(DAY), &SystemRandom);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, "SE");
    params.distinguished_name.push(DnType::OrganizationName, "Räksmörgås");
    params.distinguished_name.push(DnType::from_oid(&[2, 5, 4, 5]), "17");
    let certificate = params.self_signed(&key).unwrap().pem();
    let users = Root::load(&certificate, &key.serialize_pem(), NOW).unwrap();
    let crossed = root().cross_sign(&users, NOW, &SystemRandom).unwrap();
    let crossed = certificates(&crossed).remove(0);
    let parsed = peer::parse(&crossed).unwrap();
    assert_eq!(parsed.subject().as_raw(), users.subject());
    assert_eq!(parsed.public_key().raw, users.public_key());
    assert_eq!(parsed.issuer().to_string(), "CN=swarm-ca");
    assert_eq!(parsed.validity().not_after.timestamp(), NOW.after(DAY).seconds());
    let constrained = parsed.extensions().iter().any(|extension| {
        matches!(extension.parsed_extension(), ParsedExtension::BasicConstraints(limit) if limit.ca)
    });
    assert!(constrained);
}
