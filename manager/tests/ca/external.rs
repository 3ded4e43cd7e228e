//! A signer outside the cluster.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use shoal_base::random::SystemRandom;
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_base::{Clock as _, SystemClock};
use shoal_identity::root::{Issue, Signer};
use shoal_identity::{PeerIdentity, Root};
use shoal_manager::ca::CaStore as _;
use shoal_manager::ca::configure::Externals;
use shoal_manager::ca::external::check_reachable;
use shoal_manager::ca::issue::{self, Admission, Ask};
use shoal_model::cluster::manager::ExternalCa;
use shoal_model::cluster::node::{Availability, NodeRole};
use shoal_model::cluster::{ClusterId, NodeId};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::rig::{self, Rig};

/// What cfssl does with `POST /sign`: signs what the subject says, and asks for a client certificate.
async fn cfssl(root: Root, tasks: &Tasks) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/sign", listener.local_addr().unwrap());
    let acceptor = TlsAcceptor::from(server_config(&root));
    let signer = Arc::new(Signer::new(root, String::new()).unwrap());
    let owner = tasks.clone();
    tasks.spawn(TaskKind::ClusterListener, async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let signer = signer.clone();
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let signer = signer.clone();
                async move {
                    let body = request.into_body().collect().await?.to_bytes();
                    Ok::<_, hyper::Error>(hyper::Response::new(Full::new(answer(&signer, &body))))
                }
            });
            owner.spawn(TaskKind::ClusterConnection, async move {
                let connection = hyper::server::conn::http1::Builder::new();
                let _ = connection.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    url
}

fn answer(signer: &Signer, body: &[u8]) -> Bytes {
    let asked: serde_json::Value = serde_json::from_slice(body).unwrap();
    let name = &asked["subject"]["names"][0];
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let role = if name["OU"] == "swarm-manager" { NodeRole::Manager } else { NodeRole::Worker };
    let identity = PeerIdentity {
        node: NodeId::parse(&text(&asked["subject"]["CN"])).unwrap(),
        role,
        cluster: ClusterId::parse(&text(&name["O"])).unwrap(),
    };
    let expiry = std::time::Duration::from_secs(24 * 3600);
    let issue = Issue { identity, expiry, now: SystemClock.now() };
    let signed = signer.sign(&text(&asked["certificate_request"]), issue, &SystemRandom);
    let body = match signed {
        Ok(certificate) => serde_json::json!({
            "success": true, "result": { "certificate": certificate }, "errors": [], "messages": []
        }),
        Err(error) => serde_json::json!({
            "success": false, "result": null, "errors": [{ "code": 9002, "message": error.to_string() }]
        }),
    };
    body.to_string().into()
}

fn server_config(root: &Root) -> Arc<rustls::ServerConfig> {
    let key = rcgen::KeyPair::from_pem(&root.key_pem().unwrap()).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(root.certificate(), key).unwrap();
    let own = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&own, &issuer).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.certificate().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        provider.clone(),
    )
    .build()
    .unwrap();
    let key = PrivateKeyDer::from_pem_slice(own.serialize_pem().as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.into()], key)
        .unwrap();
    Arc::new(config)
}

#[tokio::test]
async fn a_signer_outside_signs_for_a_cluster_that_gave_its_key_away() {
    let rig = Rig::start().await;
    let root = rig.cluster().root.clone();
    let kept = Root::load(&root.certificate, &root.key, rig.clock.now()).unwrap();
    let url = cfssl(kept, &rig.tasks).await;
    let dead = format!("https://{}/sign", rig::dead_address().await);
    let external = |url: &str| ExternalCa {
        protocol: "cfssl".to_owned(),
        url: url.to_owned(),
        ..ExternalCa::default()
    };
    rig.change_cluster(|cluster| {
        cluster.root.key = String::new();
        cluster.spec.ca.external = vec![external(&dead), external(&url)];
    })
    .await;
    let keeper = rig.member("w", NodeRole::Worker).await;
    assert_eq!(keeper.credentials().identity().role, NodeRole::Worker);

    let needed = |urls: &[&String]| Externals {
        root: root.certificate.clone(),
        which: "current",
        urls: urls.iter().map(|url| (*url).clone()).collect(),
    };
    let credentials = rig.keeper.credentials();
    check_reachable(&[needed(&[&dead, &url])], credentials).await.unwrap();
    let refused = check_reachable(&[needed(&[&dead])], credentials).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "there must be at least one valid, reachable external CA corresponding to the current CA certificate"
    );
}

#[tokio::test]
async fn a_request_waits_while_the_signer_outside_is_away() {
    let rig = Rig::start().await;
    let root = rig.cluster().root.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = format!("https://{}/sign", listener.local_addr().unwrap());
    rig.change_cluster(|cluster| {
        cluster.root.key = String::new();
        cluster.spec.ca.external = vec![ExternalCa {
            protocol: "cfssl".to_owned(),
            url: away.clone(),
            ..ExternalCa::default()
        }];
    })
    .await;
    let (key, token) =
        (shoal_identity::request::NodeKey::generate().unwrap(), rig.token(NodeRole::Worker));
    let request = key.request().unwrap();
    let ask = Ask { request: &request, token: &token, availability: Availability::Active };
    let id = NodeId::from_bytes([7; 16]);
    let Admission::New(node) = issue::admit(&rig.cluster(), &[], ask, id).unwrap() else {
        panic!("nobody has asked before");
    };
    rig.ca.commit(vec![shoal_manager::ca::Change::Node(Arc::new(*node))]).await.unwrap();
    for _ in 0..3 {
        // Whoever dials finds nobody that speaks TLS; the third attempt comes after two that failed.
        drop(listener.accept().await.unwrap());
    }
    assert!(rig.store_node(id).certificate.is_asked_for(), "it is neither signed nor refused");
    rig.change_cluster(|cluster| {
        cluster.root.key = root.key.clone();
        cluster.spec.ca.external = Vec::new();
    })
    .await;
    rig.until("it is signed", || !rig.store_node(id).certificate.is_asked_for()).await;
    assert!(rig.store_node(id).certificate.error.is_empty());
}
