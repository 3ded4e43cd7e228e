//! Tests of signers outside the cluster.

use shoal_model::cluster::{ClusterId, NodeId};

use super::*;

const URL: &str = "https://ca.example/sign";

#[test]
fn the_request_is_what_cfssl_takes() {
    let identity = PeerIdentity {
        node: NodeId::from_bytes([0; 16]),
        role: NodeRole::Manager,
        cluster: ClusterId::from_bytes([0; 16]),
    };
    let zeros = "0".repeat(25);
    let expected = serde_json::json!({
        "certificate_request": "PEM",
        "hosts": ["swarm-manager", zeros, "swarm-ca"],
        "subject": { "CN": zeros, "names": [{ "O": zeros, "OU": "swarm-manager" }] },
    });
    let made: serde_json::Value = serde_json::from_slice(&sign_request("PEM", identity)).unwrap();
    assert_eq!(made, expected);
}

#[test]
fn answers_are_told_apart() {
    let read = |status, body: &str| {
        read_answer(URL, status, body.as_bytes()).map_err(|error| (error.kind(), error.to_string()))
    };
    let good = r#"{"success":true,"result":{"certificate":"PEM"},"errors":[],"messages":[]}"#;
    let bad =
        r#"{"success":false,"result":null,"errors":[{"code":1,"message":"no"},{"message":"way"}]}"#;
    assert_eq!(read(200, good), Ok("PEM".to_owned()));
    assert_eq!(
        [read(200, bad), read(400, bad), read(500, bad), read(502, "<html>"), read(200, "<html>")],
        [
            Err((ErrorKind::InvalidArgument, format!("external CA `{URL}` refused: no; way"))),
            Err((ErrorKind::InvalidArgument, format!("external CA `{URL}` refused: no; way"))),
            Err((
                ErrorKind::Internal,
                format!("external CA `{URL}` answered with status 500: no; way")
            )),
            Err((ErrorKind::Internal, format!("external CA `{URL}` answered with status 502: "))),
            Err((
                ErrorKind::Internal,
                format!("external CA `{URL}` gave an answer that is not cfssl's")
            )),
        ]
    );
}

#[test]
fn only_https_with_a_host_is_a_target() {
    for bad in ["http://ca/sign", "ca.example:443", "https://", "/sign", "https://a b/"] {
        assert!(matches!(Target::parse(bad), Err(Error::Url { .. })), "{bad}");
    }
    let address = |url| Target::parse(url).unwrap().address;
    assert_eq!(
        [address(URL), address("https://ca:8888/x?y"), address("https://[::1]:1/")],
        ["ca.example:443", "ca:8888", "[::1]:1"]
    );
}
