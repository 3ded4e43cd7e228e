//! Tests of constraints.

use std::collections::BTreeMap;

use shoal_model::cluster::node::Platform;
use shoal_model::cluster::{NodeId, NodeSpec};

use super::*;
use crate::samples;

fn node() -> Node {
    let label = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let mut node = samples::node(7);
    node.spec = NodeSpec::default();
    node.spec.annotations.labels = label("Zone", "East-1");
    node.role = NodeRole::Manager;
    node.status.address = Some("10.1.2.3".parse().unwrap());
    node.description = Some(NodeDescription {
        hostname: "Alpha".to_owned(),
        platform: Platform { architecture: "x86_64".to_owned(), os: "linux".to_owned() },
        engine_labels: label("storage", "ssd"),
        ..NodeDescription::default()
    });
    node
}

fn check(text: &str, node: &Node) -> bool {
    parse(text).unwrap().matches(node)
}

#[test]
fn what_docker_refuses_is_refused_with_its_words() {
    for (text, wanted) in [
        ("", "constraint expected one operator from ==, !="),
        ("nodeabc", "constraint expected one operator from ==, !="),
        ("node ~ abc", "constraint expected one operator from ==, !="),
        ("node=abc", "constraint expected one operator from ==, !="),
        ("1node==a2", "key '1node' is invalid"),
        ("no de== node1", "key 'no de' is invalid"),
        ("no*de==node1", "key 'no*de' is invalid"),
        ("==node1", "key '' is invalid"),
        ("n==node1", "key 'n' is invalid"),
        ("a!=b==c", "key 'a!=b' is invalid"),
        ("node==", "value '' is invalid"),
        ("node== ", "value '' is invalid"),
        ("node.id===a", "value '=a' is invalid"),
        ("node.id!=a>b", "value 'a>b' is invalid"),
        ("node.labels.zone==ä", "value 'ä' is invalid"),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!(error.to_string(), wanted, "{text}");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn what_docker_accepts_is_read_back() {
    for (text, wanted) in [
        (" node.role == manager ", "node.role==manager"),
        ("NODE.Labels.Zone!=[a-b]+c*(n|b)/", "node.labels.Zone!=[a-b]+c*(n|b)/"),
        ("_node==node 1", "_node==node 1"),
        ("engine.labels.os==ubuntu 24.04", "engine.labels.os==ubuntu 24.04"),
        ("node.labels.==x", "node.labels.==x"),
    ] {
        assert_eq!(parse(text).unwrap().to_string(), wanted);
    }
    assert_eq!(parse_all(&["node.id==ab", "bad"]), Err(Error::NoOperator));
}

#[test]
fn each_key_is_compared_regardless_of_the_values_case() {
    let node = node();
    let id = format!("node.id=={}", node.id.to_string().to_uppercase());
    for text in [
        id.as_str(),
        "node.hostname==aLPHA",
        "node.role==MANAGER",
        "node.role!=worker",
        "node.platform.os==Linux",
        "node.platform.arch==X86_64",
        "node.labels.Zone==east-1",
        "NODE.LABELS.Zone==east-1",
        "engine.labels.storage!=hdd",
    ] {
        assert!(check(text, &node), "{text}");
    }
    for text in ["node.hostname!=alpha", "node.labels.zone==east-1", "node.platform.arch==amd64"] {
        assert!(!check(text, &node), "{text}");
    }
}

#[test]
fn addresses_are_compared_as_addresses_and_subnets() {
    let node = node();
    for (text, wanted) in [
        ("node.ip==10.1.2.3", true),
        ("node.ip==::ffff:10.1.2.3", true),
        ("node.ip!=10.1.2.3", false),
        ("node.ip==10.1.0.0/16", true),
        ("node.ip==10.1.9.9/16", true),
        ("node.ip!=10.2.0.0/16", true),
        ("node.ip==2001:db8::/32", false),
        ("node.ip!=2001:db8::/32", true),
        ("node.ip==elsewhere", false),
        ("node.ip!=elsewhere", false),
    ] {
        assert_eq!(check(text, &node), wanted, "{text}");
    }
}

#[test]
fn what_a_node_lacks_is_equal_to_nothing() {
    let mut bare = samples::node(1);
    bare.description = None;
    bare.status.address = None;
    for key in ["node.hostname", "node.platform.os", "node.labels.a", "engine.labels.a"] {
        assert!(!check(&format!("{key}==x"), &bare), "{key}");
        assert!(check(&format!("{key}!=x"), &bare), "{key}");
    }
    assert!(!check("node.ip==10.0.0.1", &bare));
    assert!(check("node.ip!=10.0.0.1", &bare));
}

#[test]
fn unknown_keys_match_no_node() {
    for text in ["node.name==alpha", "node.name!=alpha", "node.labels.!=x"] {
        assert!(!check(text, &node()), "{text}");
    }
}

#[test]
fn all_must_match_and_none_is_no_obstacle() {
    let node = node();
    let both = |second: &str| parse_all(&["node.role==manager", second]).unwrap();
    assert!(matches(&[], &node));
    assert!(matches(&both("node.platform.os==linux"), &node));
    assert!(!matches(&both("node.platform.os==windows"), &node));
}

#[test]
fn keys_give_their_value() {
    let node = node();
    assert_eq!(Key::parse("node.labels.Zone").value(&node), "East-1");
    assert_eq!(Key::parse("node.ip").value(&node), "10.1.2.3");
    assert_eq!(Key::parse("node.id").value(&node), NodeId::to_string(&node.id));
    assert_eq!(Key::parse("nonsense").value(&node), "");
}

#[test]
fn unknown_keys_are_told_with_the_one_that_was_meant() {
    let told = |texts: &[&str]| unknown_keys(&parse_all(texts).unwrap());
    for (text, meant) in [
        ("node.rol==manager", "node.role"),
        ("node.roles==manager", "node.role"),
        ("Node.Hsotname!=a", "node.hostname"),
        ("node.platform.arhc==x86_64", "node.platform.arch"),
        ("node.labls.Zone.a==x", "node.labels.Zone.a"),
        ("node.label.zone==x", "node.labels.zone"),
        ("engine.lables.disk==ssd", "engine.labels.disk"),
        ("node.labels.!=x", "node.labels.NAME"),
        ("role==manager", "node.role"),
        ("labels.zone==x", "node.labels.zone"),
        ("node.os==linux", "node.platform.os"),
        ("Arch==x86_64", "node.platform.arch"),
        ("platform.os==linux", "node.platform.os"),
    ] {
        let (key, _) = text.split_once(['=', '!']).unwrap();
        let wanted = format!("no node has a `{key}`, did you mean `{meant}`?");
        assert_eq!(told(&[text]), Some(wanted));
    }
    assert_eq!(
        told(&["node.role==worker", "zone==a", "node.ids==b", "zone!=c"]).unwrap(),
        "no node has a `zone`, known keys are node.id, node.hostname, node.ip, node.role, node.platform.os, \
         node.platform.arch, node.labels.NAME, engine.labels.NAME; no node has a `node.ids`, did you mean `node.id`?"
    );
    assert_eq!(told(&["node.role==worker", "engine.labels.x==a"]), None);
    assert_eq!(told(&[]), None);
}
