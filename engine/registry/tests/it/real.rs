//! Round trips through Debian's `docker-registry`.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use sha2::{Digest as _, Sha256};
use shoal_engine_registry::{
    Access, Client, Credentials, Descriptor, Download, Error, Insecure, Meter, Mount, Piece,
    Reader, Repository, Source, Target, manifest::media,
};
use shoal_model::{Classified as _, Digest, ErrorKind, Fact, Reference};

use crate::debian::{Guard, Registry};
use crate::{client, with_insecure};

struct Memory(Bytes);

impl Source for Memory {
    fn open(&self, offset: u64) -> BoxFuture<'_, std::io::Result<Reader>> {
        let rest = self.0.slice(usize::try_from(offset).unwrap()..);
        Box::pin(async move { Ok(Box::new(std::io::Cursor::new(rest)) as Reader) })
    }
}

struct Ignore;

impl Meter for Ignore {
    fn at(&self, _: u64) {}
}

fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_sha256(Sha256::digest(bytes).into())
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    let (digest, size) = (digest_of(bytes), bytes.len());
    let text = format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#);
    serde_json::from_str(&text).unwrap()
}

fn ann() -> Credentials {
    Credentials {
        username: "ann".to_owned(),
        password: "hunter2".to_owned(),
        ..Credentials::default()
    }
}

async fn open(client: &Client, name: &str, user: &Credentials, access: Access) -> Arc<Repository> {
    let reference: Reference = name.parse().unwrap();
    Arc::new(client.repository(&reference, user, access).await.unwrap())
}

async fn push_blob(repository: &Repository, bytes: &[u8]) {
    let digest = digest_of(bytes);
    let upload = repository.start_upload().await.unwrap();
    let source = Arc::new(Memory(Bytes::copy_from_slice(bytes)));
    let size = u64::try_from(bytes.len()).unwrap();
    repository.upload(upload, digest, size, source, Arc::new(Ignore)).await.unwrap();
    assert_eq!(repository.blob_size(digest).await.unwrap(), Some(size));
}

fn layer() -> Vec<u8> {
    (0..3_000_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// Pushes an image of one layer under two tags and pulls it back.
async fn round_trip(client: &Client, host: &str, user: &Credentials) {
    let (config, layer) = (b"{}".to_vec(), layer());
    let push = open(client, &format!("{host}/team/app"), user, Access::Push).await;
    assert_eq!(push.blob_size(digest_of(&layer)).await.unwrap(), None);
    push_blob(&push, &layer).await;
    push_blob(&push, &config).await;
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media::DOCKER_MANIFEST,
        "config": descriptor(media::DOCKER_CONFIG, &config),
        "layers": [descriptor(media::DOCKER_LAYER_GZIP, &layer)],
    });
    let bytes = Bytes::from(manifest.to_string());
    for tag in ["1.0", "latest"] {
        let target = Target::Tag(tag.to_owned());
        push.put_manifest(&target, media::DOCKER_MANIFEST, &bytes).await.unwrap();
    }

    let pull = open(client, &format!("{host}/team/app"), user, Access::Pull).await;
    assert_eq!(pull.tags().await.unwrap(), ["1.0", "latest"]);
    let fetched = pull.manifest(&Target::Tag("1.0".to_owned())).await.unwrap();
    assert_eq!((fetched.descriptor.digest, &fetched.bytes), (digest_of(&bytes), &bytes));
    let by_digest = pull.manifest(&Target::Digest(digest_of(&bytes))).await.unwrap();
    assert_eq!(by_digest.bytes, bytes);
    let small = pull.small_blob(&descriptor(media::DOCKER_CONFIG, &config), 100).await.unwrap();
    assert_eq!(small, config);
    for from in [0, 5_000_001] {
        let mut download = Download::new(Arc::clone(&pull), &descriptor("", &layer), from);
        let mut got = Vec::new();
        while let Some(piece) = download.next().await.unwrap() {
            let Piece::Bytes(bytes) = piece else { panic!("nothing broke") };
            got.extend_from_slice(&bytes);
        }
        assert!(got == layer[usize::try_from(from).unwrap()..]);
    }
    let missing = pull.manifest(&Target::Tag("absent".to_owned())).await.unwrap_err();
    assert_eq!(missing.refusal().unwrap().to_string(), "manifest unknown: manifest unknown");
}

#[tokio::test]
async fn plain_http_on_loopback() {
    let registry = Registry::start(Guard::None);
    let client = client(std::path::Path::new("/nonexistent"), &[]);
    round_trip(&client, &registry.host(), &Credentials::default()).await;
    // A blob of one repository is mounted in another without a byte sent.
    let nobody = Credentials::default();
    let host = registry.host();
    let other = open(&client, &format!("{host}/other/app"), &nobody, Access::Push).await;
    let from: Reference = format!("{host}/team/app").parse().unwrap();
    other.also_read(&from);
    let digest = digest_of(&layer());
    assert!(matches!(other.mount(digest, &from).await.unwrap(), Mount::Mounted));
    assert!(other.blob_size(digest).await.unwrap().is_some());
    let unknown = digest_of(b"unknown");
    assert!(matches!(other.mount(unknown, &from).await.unwrap(), Mount::Upload(_)));
    let error = client.search(&format!("{host}/x"), 0, &nobody).await.unwrap_err();
    assert_eq!(error.fact(), Some(Fact::SearchStatus { status: 404 }));
}

#[tokio::test]
async fn a_private_authority_of_certs_d() {
    let registry = Registry::start(Guard::Tls);
    let host = format!("localhost:{}", registry.port);
    let certs = tempfile::tempdir().unwrap();
    let nobody = Credentials::default();
    // Not known: refused before anything is said.
    let strict = with_insecure(certs.path(), &[], Insecure::none());
    let stranger = open(&strict, &format!("{host}/team/app"), &nobody, Access::Pull).await;
    let error = stranger.tags().await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    // Known: accepted.
    std::fs::create_dir(certs.path().join(&host)).unwrap();
    std::fs::write(certs.path().join(&host).join("ca.crt"), registry.authority()).unwrap();
    round_trip(&strict, &host, &nobody).await;
    // Insecure: accepted without.
    let lax = client(std::path::Path::new("/nonexistent"), &[]);
    let pull = open(&lax, &format!("{host}/team/app"), &nobody, Access::Pull).await;
    assert_eq!(pull.tags().await.unwrap(), ["1.0", "latest"]);
}

#[tokio::test]
async fn a_client_certificate_of_certs_d() {
    let registry = Registry::start(Guard::MutualTls);
    let host = format!("localhost:{}", registry.port);
    let certs = tempfile::tempdir().unwrap();
    let directory = certs.path().join(&host);
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("ca.crt"), registry.authority()).unwrap();
    let strict = with_insecure(certs.path(), &[], Insecure::none());
    let nobody = Credentials::default();
    let stranger = open(&strict, &format!("{host}/team/app"), &nobody, Access::Pull).await;
    assert!(stranger.tags().await.is_err());
    let (certificate, key) = registry.client();
    std::fs::write(directory.join("client.cert"), certificate).unwrap();
    let half = strict.repository(&"x/y".parse().unwrap(), &nobody, Access::Pull).await;
    assert!(half.is_ok(), "another registry's directory does not matter");
    let name = format!("{host}/team/app").parse().unwrap();
    let error = strict.repository(&name, &nobody, Access::Pull).await.unwrap_err();
    assert!(matches!(error, Error::Certificates { .. }), "a key is missing: {error:?}");
    std::fs::write(directory.join("client.key"), key).unwrap();
    round_trip(&strict, &host, &nobody).await;
}

#[tokio::test]
async fn passwords() {
    let registry = Registry::start(Guard::Password);
    let client = client(std::path::Path::new("/nonexistent"), &[]);
    let host = registry.host();
    round_trip(&client, &host, &ann()).await;
    assert_eq!(client.login(&host, &ann()).await.unwrap().identity_token, "");
    let wrong = Credentials { password: "guess".to_owned(), ..ann() };
    let error = client.login(&host, &wrong).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert_eq!(
        error.to_string(),
        format!("login attempt to http://{host}/v2/ failed with status: 401 Unauthorized")
    );
    let nobody =
        open(&client, &format!("{host}/team/app"), &Credentials::default(), Access::Pull).await;
    let request = format!("Get \"http://{host}/v2/team/app/tags/list\"");
    let error = nobody.tags().await.unwrap_err();
    assert_eq!(error.fact(), Some(Fact::NoRegistryCredentials { request }));
    let guess = open(&client, &format!("{host}/team/app"), &wrong, Access::Pull).await;
    assert_eq!(
        guess.tags().await.unwrap_err().to_string(),
        "unauthorized: authentication required"
    );
}

#[tokio::test]
async fn an_upload_goes_on_where_the_registry_broke() {
    use crate::server::{Server, reply};
    let content = Bytes::from(vec![9; 900_000]);
    let whole = content.clone();
    // Takes a third, breaks; says what it has; takes the rest.
    let server = Server::start(move |number, seen| {
        let location = ("Location", "/v2/a/b/blobs/uploads/session?state=x");
        match (number, seen.line.split(' ').next().unwrap()) {
            (0, "POST") => reply("202 Accepted", &[location], b""),
            (1, "PATCH") => reply("500 Internal Server Error", &[], b""),
            (2, "GET") => reply("204 No Content", &[location, ("Range", "0-299999")], b""),
            (3, "PATCH") => {
                assert_eq!(seen.header("content-range"), Some("300000-899999"));
                assert!(seen.body == whole[300_000..]);
                reply("202 Accepted", &[location, ("Range", "0-899999")], b"")
            }
            (4, "PUT") => reply("201 Created", &[("Location", "/done")], b""),
            other => panic!("unexpected request {other:?}"),
        }
    });
    let client = client(std::path::Path::new("/nonexistent"), &[]);
    let name = format!("{}/a/b", server.host());
    let repository = open(&client, &name, &Credentials::default(), Access::Push).await;
    let upload = repository.start_upload().await.unwrap();
    let (digest, source) = (digest_of(&content), Arc::new(Memory(content.clone())));
    repository.upload(upload, digest, 900_000, source, Arc::new(Ignore)).await.unwrap();
    let put = server.lines().pop().unwrap();
    let hex = digest.hex();
    assert_eq!(put, format!("PUT /v2/a/b/blobs/uploads/session?state=x&digest=sha256%3A{hex}"));
}
