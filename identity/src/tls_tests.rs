//! Tests of the TLS configurations.

use std::collections::BTreeSet;

use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::files::Stored;
use crate::peer;
use crate::root::Signer;
use crate::testing::{CLUSTER, DAY, NOW, Standing, identity, node, root};

struct Case {
    signer: Signer,
    server: Credentials,
    config: Arc<ServerConfig>,
}

impl Case {
    fn new() -> Self {
        let signer = Signer::new(root(), String::new()).unwrap();
        let server = credentials(&signer, identity(NodeRole::Manager), NOW);
        let config = super::server(&server);
        Self { signer, server, config }
    }

    /// What the server makes of a client that shows `shown` and believes anyone.
    async fn verdict(&self, shown: Option<&Credentials>) -> String {
        let builder = client_builder(Arc::new(Standing(NOW)), Arc::new(Anyone));
        let config = match shown {
            Some(shown) => builder.with_client_cert_resolver(Arc::new(Shown(shown.clone()))),
            None => builder.with_no_client_auth(),
        };
        self.meet(Arc::new(config)).await.0
    }

    /// What both ends say.
    async fn meet(&self, config: Arc<ClientConfig>) -> (String, String) {
        let (near, far) = tokio::io::duplex(1 << 16);
        let name = ServerName::try_from("anything").unwrap();
        let (server, client) = tokio::join!(
            TlsAcceptor::from(self.config.clone()).accept(near),
            TlsConnector::from(config).connect(name, far)
        );
        let server = match server {
            Ok(stream) => match stream.get_ref().1.peer_certificates() {
                Some(chain) => format!("{:?}", peer::facts(&chain[0]).unwrap().identity.role),
                None => "anonymous".to_owned(),
            },
            Err(error) => explained(error).to_string(),
        };
        let client = client.map_or_else(|error| explained(error).to_string(), |_| "ok".to_owned());
        (server, client)
    }
}

/// Credentials as they are at `now`, which need not be the time at which they are shown.
fn credentials(signer: &Signer, identity: PeerIdentity, now: Timestamp) -> Credentials {
    Credentials::new(&stored(signer, identity, now), Arc::new(Standing(now))).unwrap()
}

fn stored(signer: &Signer, identity: PeerIdentity, now: Timestamp) -> Stored {
    let (chain, key) = node(signer, identity, now);
    let trust = signer.root().certificate().to_owned();
    Stored { trust, chain, key, data_keys: Vec::new(), unlock_version: 0 }
}

fn other() -> PeerIdentity {
    PeerIdentity { node: NodeId::from_bytes([5; 16]), ..identity(NodeRole::Worker) }
}

#[tokio::test]
async fn the_server_tells_clients_apart() {
    let case = Case::new();
    let id = other().node;
    let manager = PeerIdentity { role: NodeRole::Manager, ..other() };
    let foreign = PeerIdentity { cluster: ClusterId::from_bytes([3; 16]), ..other() };
    let forger = Signer::new(root(), String::new()).unwrap();
    let past = Timestamp::from_parts(NOW.seconds() - 91 * 24 * 3600, 0);
    let shown = |signer, identity, now| Some(credentials(signer, identity, now));
    let clients = [
        shown(&case.signer, other(), NOW),
        shown(&case.signer, manager, NOW),
        None,
        shown(&case.signer, foreign, NOW),
        shown(&forger, other(), NOW),
        shown(&case.signer, other(), past),
        shown(&case.signer, other(), NOW.after(2 * DAY)),
    ];
    let mut verdicts = Vec::new();
    for client in &clients {
        verdicts.push(case.verdict(client.as_ref()).await);
    }
    assert_eq!(
        verdicts,
        [
            "Worker".to_owned(),
            "Manager".to_owned(),
            "anonymous".to_owned(),
            format!(
                "certificate of node `{id}` is of cluster `{}`, not of `{CLUSTER}`",
                foreign.cluster
            ),
            format!("certificate of node `{id}` is not signed by the root of the cluster"),
            format!(
                "certificate of node `{id}` expired on 2026-11-20T00:00:00Z and it is \
                 2026-11-21T00:00:00Z here"
            ),
            format!(
                "certificate of node `{id}` is valid from 2026-11-22T23:00:00Z on and it is \
                 2026-11-21T00:00:00Z here: the clock of this host is behind, or the clock of the manager \
                 that signed it is ahead"
            ),
        ]
    );
}

#[tokio::test]
async fn what_changes_counts_from_the_next_handshake_on() {
    let case = Case::new();
    let client = credentials(&case.signer, other(), NOW);
    assert_eq!(case.verdict(Some(&client)).await, "Worker");

    case.server.revoke(BTreeSet::from([other().node]));
    let removed = "the node at the other end was removed from the cluster";
    assert_eq!(case.verdict(Some(&client)).await, removed);
    case.server.revoke(BTreeSet::new());

    let manager = PeerIdentity { role: NodeRole::Manager, ..other() };
    client.replace(&stored(&case.signer, manager, NOW)).unwrap();
    assert_eq!(case.verdict(Some(&client)).await, "Manager");

    let crossed = case.signer.root();
    let new = root();
    let both = format!("{}{}", crossed.certificate(), new.certificate());
    let new_signer = Signer::new(new, String::new()).unwrap();
    let turned = credentials(&new_signer, other(), NOW);
    assert!(case.verdict(Some(&turned)).await.contains("not signed by the root"));
    case.server.trust(&both).unwrap();
    assert_eq!(case.verdict(Some(&turned)).await, "Worker");
}

#[tokio::test]
async fn the_client_meets_whom_it_expects_or_nobody() {
    let case = Case::new();
    let me = credentials(&case.signer, other(), NOW);
    let server = case.server.identity().node;
    let stranger = NodeId::from_bytes([4; 16]);
    let met = |expected| case.meet(client(&me, expected));
    assert_eq!(met(Expected::Manager).await.1, "ok");
    assert_eq!(met(Expected::Node(server)).await.1, "ok");
    assert_eq!(
        met(Expected::Node(stranger)).await.1,
        format!("expected node `{stranger}` at the other end, found `{server}`")
    );
    case.server.replace(&stored(&case.signer, identity(NodeRole::Worker), NOW)).unwrap();
    assert_eq!(
        met(Expected::Manager).await.1,
        format!("expected a manager at the other end, found worker `{server}`")
    );
    let trust = me.current().trust.clone();
    let joining = anonymous(trust, Some(CLUSTER), Arc::new(Standing(NOW)));
    assert_eq!(
        case.meet(joining).await.1,
        format!("expected a manager at the other end, found worker `{server}`")
    );
}

#[tokio::test]
async fn only_tls_1_3_is_spoken_and_no_session_is_resumed() {
    let case = Case::new();
    let time = Arc::new(Time(Arc::new(Standing(NOW)) as SharedClock));
    let config = ClientConfig::builder_with_details(provider(), time)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    let (server, _) = case.meet(Arc::new(config)).await;
    assert!(server.contains("Tls12NotOffered"), "{server}");

    let me = credentials(&case.signer, other(), NOW);
    let config = client(&me, Expected::Manager);
    assert_eq!(case.meet(config.clone()).await.0, "Worker");
    case.server.revoke(BTreeSet::from([other().node]));
    assert!(case.meet(config).await.0.contains("was removed"), "a second handshake is a full one");
}
