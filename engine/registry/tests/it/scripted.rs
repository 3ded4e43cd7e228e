//! A registry that breaks, lies, dawdles and demands.

use sha2::{Digest as _, Sha256};
use shoal_base::SystemClock;
use shoal_engine_registry::{
    Access, Client, Code, Credentials, Descriptor, Download, Error, Insecure, Piece, Proxy,
    Repository, Target, manifest::media,
};
use shoal_model::{Classified as _, Digest, ErrorKind, Reference};
use std::sync::Arc;

use crate::client;
use crate::server::{Reply, Seen, Server, Then, reply};

const MANIFEST: &[u8] = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
"config":{"mediaType":"application/vnd.oci.image.config.v1+json",
"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;

fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_sha256(Sha256::digest(bytes).into())
}

fn anonymous() -> Client {
    client(std::path::Path::new("/nonexistent"), &[])
}

async fn repository(client: &Client, host: &str, credentials: &Credentials) -> Arc<Repository> {
    let reference: Reference = format!("{host}/a/b:t").parse().unwrap();
    Arc::new(client.repository(&reference, credentials, Access::Pull).await.unwrap())
}

async fn get(host: &str) -> Result<shoal_engine_registry::Fetched, Error> {
    let client = anonymous();
    let repository = repository(&client, host, &Credentials::default()).await;
    repository.manifest(&Target::Tag("t".to_owned())).await
}

fn manifest_reply() -> Reply {
    reply("200 OK", &[("Content-Type", media::OCI_MANIFEST)], MANIFEST)
}

fn blob(bytes: &[u8]) -> Descriptor {
    let digest = digest_of(bytes);
    let size = bytes.len();
    serde_json::from_str(&format!(r#"{{"digest":"{digest}","size":{size}}}"#)).unwrap()
}

/// Downloads; what came, and how often it was tried again.
async fn download(
    host: &str,
    descriptor: &Descriptor,
    from: u64,
) -> (Vec<u8>, u32, Result<(), Error>) {
    let client = anonymous();
    let repository = repository(&client, host, &Credentials::default()).await;
    let mut download = Download::new(repository, descriptor, from);
    let (mut all, mut retries) = (Vec::new(), 0);
    loop {
        match download.next().await {
            Ok(Some(Piece::Bytes(bytes))) => all.extend_from_slice(&bytes),
            Ok(Some(Piece::Retry { .. })) => retries += 1,
            Ok(None) => return (all, retries, Ok(())),
            Err(error) => return (all, retries, Err(error)),
        }
    }
}

/// Half of the content, then the rest as the range asks.
fn half_then_range(content: Vec<u8>) -> impl Fn(usize, &Seen) -> Reply {
    move |number, seen| {
        let total = content.len();
        if number == 0 {
            let length = total.to_string();
            let half = &content[..total / 2];
            return reply("200 OK", &[("Content-Length", &length)], half);
        }
        let range = seen.header("range").expect("a range is asked for").to_owned();
        let first = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
        let described = format!("bytes {first}-{}/{total}", total - 1);
        reply("206 Partial Content", &[("Content-Range", &described)], &content[first..])
    }
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke() {
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let server = Server::start(half_then_range(content.clone()));
    let (got, retries, result) = download(&server.host(), &blob(&content), 0).await;
    result.unwrap();
    assert_eq!((got == content, retries), (true, 1));
    assert_eq!(server.seen()[1].header("range"), Some("bytes=200000-"));
}

#[tokio::test]
async fn a_server_without_ranges_starts_again_and_the_client_skips() {
    let content = vec![7; 1000];
    let (whole, descriptor) = (content.clone(), blob(&content));
    let server = Server::start(move |number, _| {
        let sent = if number == 0 { &whole[..400] } else { &whole[..] };
        reply("200 OK", &[("Content-Length", "1000")], sent)
    });
    let (got, retries, result) = download(&server.host(), &descriptor, 0).await;
    result.unwrap();
    assert_eq!((got == content, retries), (true, 1));
}

#[tokio::test]
async fn a_stored_beginning_is_not_fetched_again() {
    let content = b"0123456789".to_vec();
    let descriptor = blob(&content);
    let server = Server::start(|_, _| {
        reply("206 Partial Content", &[("Content-Range", "bytes 4-9/10")], b"456789")
    });
    let (got, _, result) = download(&server.host(), &descriptor, 4).await;
    result.unwrap();
    assert_eq!(got, b"456789");
    assert_eq!(server.seen()[0].header("range"), Some("bytes=4-"));
}

#[tokio::test]
async fn lengths_that_do_not_fit_are_refused() {
    let descriptor = blob(b"0123456789");
    let server = Server::start(|_, _| reply("200 OK", &[], b"01234567890"));
    let (_, retries, result) = download(&server.host(), &descriptor, 0).await;
    assert!(matches!(result, Err(Error::Size { expected: 10, actual: 11, .. })), "{result:?}");
    assert_eq!(retries, 0);
    // The same without a length at the head.
    let server = Server::start(|_, _| {
        let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n01234567890".to_vec();
        Reply(head, Then::Close)
    });
    let (_, retries, result) = download(&server.host(), &descriptor, 0).await;
    assert!(matches!(result, Err(Error::Size { expected: 10, actual: 11, .. })), "{result:?}");
    assert_eq!(retries, 0);
    let server = Server::start(|_, _| {
        reply("206 Partial Content", &[("Content-Range", "bytes 4-10/11")], b"4567890")
    });
    let (_, _, result) = download(&server.host(), &descriptor, 4).await;
    assert!(matches!(result, Err(Error::Size { expected: 10, actual: 11, .. })), "{result:?}");
}

#[tokio::test]
async fn attempts_are_bounded_while_nothing_comes() {
    let descriptor = blob(b"0123456789");
    let server = Server::start(|_, _| reply("503 Service Unavailable", &[], b""));
    let (_, retries, result) = download(&server.host(), &descriptor, 0).await;
    assert!(matches!(result, Err(Error::Status { status: 503, .. })), "{result:?}");
    assert_eq!((retries, server.seen().len()), (2, 3));
}

#[tokio::test]
async fn a_silent_body_times_out_and_is_asked_for_again() {
    let content = vec![1; 500];
    let descriptor = blob(&content);
    let server = Server::start(move |number, _| {
        let Reply(mut bytes, _) = reply("200 OK", &[], &content);
        if number == 0 {
            bytes.truncate(bytes.len() - 300);
            return Reply(bytes, Then::Hang);
        }
        reply("206 Partial Content", &[("Content-Range", "bytes 200-499/500")], &content[200..])
    });
    let (got, retries, result) = download(&server.host(), &descriptor, 0).await;
    result.unwrap();
    assert_eq!((got.len(), retries), (500, 1));
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let server = Server::start(|_, _| Reply(Vec::new(), Then::Hang));
    // Far more than the deadline, far less than forever.
    let patience = std::time::Duration::from_secs(5);
    let given_up = tokio::time::timeout(patience, get(&server.host())).await.unwrap();
    let error = given_up.unwrap_err();
    assert!(matches!(error, Error::Silent { .. }), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
}

#[tokio::test]
async fn garbage_for_json_and_wrong_digests_are_named() {
    let server =
        Server::start(|_, _| reply("200 OK", &[("Content-Type", media::OCI_MANIFEST)], b"<html>"));
    let error = get(&server.host()).await.unwrap_err();
    assert!(matches!(error, Error::Manifest { .. }), "{error:?}");

    let wrong = format!("sha256:{}", "00".repeat(32));
    let server =
        Server::start(move |_, _| reply("200 OK", &[("Docker-Content-Digest", &wrong)], MANIFEST));
    let error = get(&server.host()).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::DataLoss);

    let server = Server::start(|_, _| reply("200 OK", &[], b"{\"tags\":7}"));
    let client = anonymous();
    let tags = repository(&client, &server.host(), &Credentials::default()).await.tags().await;
    assert!(matches!(tags, Err(Error::NotJson { what: "a list of tags", .. })), "{tags:?}");
}

#[tokio::test]
async fn a_500_is_tried_again_and_a_429_is_not() {
    let server = Server::start(|number, _| match number {
        0 => reply("500 Internal Server Error", &[], b"oops"),
        _ => manifest_reply(),
    });
    assert_eq!(get(&server.host()).await.unwrap().descriptor.digest, digest_of(MANIFEST));
    assert_eq!(server.seen().len(), 2);

    let body = br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#;
    let server =
        Server::start(|_, _| reply("429 Too Many Requests", &[("Retry-After", "7")], body));
    let error = get(&server.host()).await.unwrap_err();
    assert_eq!(error.to_string(), "toomanyrequests: slow down");
    let refusal = error.refusal().unwrap();
    assert_eq!(
        (&refusal.code, refusal.retry_after.unwrap().as_secs()),
        (&Code::TooManyRequests, 7)
    );
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn bearer_tokens_are_fetched_once_and_renewed_when_refused() {
    let server = Server::start(|number, seen| {
        if seen.line.starts_with("GET /token") {
            let token = format!(r#"{{"token":"t{number}","expires_in":300}}"#);
            return reply("200 OK", &[], token.as_bytes());
        }
        // Token t1 is good for one request only.
        let good = matches!(
            (number, seen.header("authorization")),
            (2, Some("Bearer t1")) | (_, Some("Bearer t4"))
        );
        if good {
            return manifest_reply();
        }
        let host = seen.header("host").unwrap();
        let challenge = format!(
            "Bearer realm=\"http://{host}/token\",service=\"s,x\",scope=\"repository:a/b:pull\""
        );
        reply("401 Unauthorized", &[("WWW-Authenticate", &challenge)], b"{}")
    });
    let user = Credentials {
        username: "ann".to_owned(),
        password: "pw".to_owned(),
        ..Credentials::default()
    };
    let client = anonymous();
    let repository = repository(&client, &server.host(), &user).await;
    for _ in 0..3 {
        repository.manifest(&Target::Tag("t".to_owned())).await.unwrap();
    }
    let token = "GET /token?service=s%2Cx&scope=repository%3Aa%2Fb%3Apull&account=ann";
    let manifest = "GET /v2/a/b/manifests/t";
    assert_eq!(
        server.lines(),
        [manifest, token, manifest, manifest, token, manifest, manifest],
        "challenge, token, answer; refused token, new token, answer; answer"
    );
    assert_eq!(server.seen()[1].header("authorization"), Some("Basic YW5uOnB3"));
}

#[tokio::test]
async fn an_identity_token_goes_by_form() {
    let server = Server::start(|_, seen| {
        let host = seen.header("host").unwrap();
        if seen.line.starts_with("POST /token") {
            return reply("200 OK", &[], br#"{"access_token":"good"}"#);
        }
        if seen.header("authorization") == Some("Bearer good") {
            return manifest_reply();
        }
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=s");
        reply("401 Unauthorized", &[("WWW-Authenticate", &challenge)], b"")
    });
    let user = Credentials { identity_token: "re fresh".to_owned(), ..Credentials::default() };
    let client = anonymous();
    let repository = repository(&client, &server.host(), &user).await;
    repository.manifest(&Target::Tag("t".to_owned())).await.unwrap();
    let form = String::from_utf8(server.seen()[1].body.clone()).unwrap();
    assert_eq!(
        form,
        "grant_type=refresh_token&refresh_token=re%20fresh&service=s&client_id=docker\
         &scope=repository%3Aa%2Fb%3Apull"
    );
}

#[tokio::test]
async fn refusals_are_typed() {
    for (status, body, code, kind) in [
        (
            "404 Not Found",
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
            Code::ManifestUnknown,
            ErrorKind::NotFound,
        ),
        (
            "404 Not Found",
            r#"{"errors":[{"code":"NAME_UNKNOWN","message":"x"}]}"#,
            Code::NameUnknown,
            ErrorKind::NotFound,
        ),
        (
            "403 Forbidden",
            r#"{"errors":[{"code":"DENIED","message":"x"}]}"#,
            Code::Denied,
            ErrorKind::Forbidden,
        ),
        ("401 Unauthorized", "", Code::Unauthorized, ErrorKind::Unauthorized),
    ] {
        let server = Server::start(move |_, _| reply(status, &[], body.as_bytes()));
        let error = get(&server.host()).await.unwrap_err();
        assert_eq!((&error.refusal().unwrap().code, error.kind()), (&code, kind));
    }
    let server = Server::start(|_, _| {
        reply("401 Unauthorized", &[("WWW-Authenticate", "Basic realm=x")], b"")
    });
    assert!(matches!(get(&server.host()).await, Err(Error::NoCredentials { .. })));
}

#[tokio::test]
async fn a_redirect_to_another_origin_carries_no_credentials() {
    let elsewhere = Server::start(|_, _| manifest_reply());
    let target = format!("http://{}/data", elsewhere.host());
    let server = Server::start(move |_, seen| {
        if seen.header("authorization").is_none() {
            return reply("401 Unauthorized", &[("WWW-Authenticate", "Basic realm=x")], b"");
        }
        reply("307 Temporary Redirect", &[("Location", &target)], b"")
    });
    let user = Credentials {
        username: "ann".to_owned(),
        password: "pw".to_owned(),
        ..Credentials::default()
    };
    let client = anonymous();
    let repository = repository(&client, &server.host(), &user).await;
    repository.manifest(&Target::Tag("t".to_owned())).await.unwrap();
    assert!(server.seen()[1].header("authorization").is_some());
    let seen = elsewhere.seen();
    assert_eq!((seen[0].line.as_str(), seen[0].header("authorization")), ("GET /data", None));
}

#[tokio::test]
async fn redirects_end() {
    let server = Server::start(|_, seen| {
        let path = seen.line.trim_start_matches("GET ").to_owned();
        reply("302 Found", &[("Location", &path)], b"")
    });
    assert!(matches!(get(&server.host()).await, Err(Error::Redirects { .. })));
    assert_eq!(server.seen().len(), 11);
}

#[tokio::test]
async fn tags_come_page_by_page() {
    let server = Server::start(|number, _| match number {
        0 => reply(
            "200 OK",
            &[("Link", "</v2/a/b/tags/list?last=t2>; rel=\"next\"")],
            br#"{"tags":["t1","t2"]}"#,
        ),
        1 => reply("200 OK", &[("Link", "<list?last=t3>; rel=next")], br#"{"tags":["t3"]}"#),
        _ => reply("200 OK", &[], br#"{"name":"a/b","tags":null}"#),
    });
    let client = anonymous();
    let tags = repository(&client, &server.host(), &Credentials::default()).await.tags().await;
    assert_eq!(tags.unwrap(), ["t1", "t2", "t3"]);
    assert_eq!(
        server.lines(),
        ["GET /v2/a/b/tags/list", "GET /v2/a/b/tags/list?last=t2", "GET /v2/a/b/tags/list?last=t3"]
    );
}

#[tokio::test]
async fn a_failing_mirror_is_followed_by_the_next() {
    let broken = Server::start(|_, _| reply("404 Not Found", &[], b""));
    let good = Server::start(|_, _| manifest_reply());
    let mirrors = [broken.host(), good.host()].map(|host| format!("http://{host}"));
    let mirrors: Vec<&str> = mirrors.iter().map(String::as_str).collect();
    let client = client(std::path::Path::new("/nonexistent"), &mirrors);
    let user = Credentials {
        username: "ann".to_owned(),
        password: "pw".to_owned(),
        registry_token: "secret".to_owned(),
        ..Credentials::default()
    };
    let reference: Reference = "busybox".parse().unwrap();
    let repository = client.repository(&reference, &user, Access::Pull).await.unwrap();
    for _ in 0..2 {
        repository.manifest(&Target::Tag("latest".to_owned())).await.unwrap();
    }
    assert_eq!(broken.lines(), ["GET /v2/library/busybox/manifests/latest"]);
    assert_eq!(good.lines().len(), 2);
    assert!(good.seen().iter().all(|seen| seen.header("authorization").is_none()));
}

#[tokio::test]
async fn a_proxy_gets_whole_urls_and_tunnels() {
    let server = Server::start(|_, seen| match seen.line.split(' ').next().unwrap() {
        "CONNECT" => reply("502 Bad Gateway", &[], b""),
        _ => manifest_reply(),
    });
    let url = format!("http://ann:pw@{}", server.host());
    let nowhere = std::path::Path::new("/nonexistent");
    let mut settings = crate::settings(nowhere, &["http://m.example"], Insecure::none());
    settings.proxy = Proxy { http: url.clone(), https: url, no: String::new() };
    let client = Client::new(settings, Arc::new(SystemClock));
    let nobody = Credentials::default();
    let open = async |name: &str| {
        client.repository(&name.parse().unwrap(), &nobody, Access::Pull).await.unwrap()
    };
    open("busybox").await.manifest(&Target::Tag("t".to_owned())).await.unwrap();
    let error = open("r.example/a").await.tags().await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    assert_eq!(
        server.lines(),
        ["GET http://m.example/v2/library/busybox/manifests/t", "CONNECT r.example:443"]
    );
    for seen in server.seen() {
        assert_eq!(seen.header("proxy-authorization"), Some("Basic YW5uOnB3"));
    }
}
