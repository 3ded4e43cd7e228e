use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

use super::*;

/// Answers each connection's requests with `answers` in turn; gives what was received.
async fn serve(listener: UnixListener, answers: Vec<&'static str>) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut received = String::new();
    for answer in answers {
        let mut buffer = vec![0; 4096];
        let count = stream.read(&mut buffer).await.unwrap();
        received.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    received + &rest
}

struct Scene {
    path: std::path::PathBuf,
    client: Client,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn scene(name: &str) -> (Scene, UnixListener) {
    let path = std::env::temp_dir().join(format!("shoal-wire-{}-{name}.sock", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let client = Client::new(Endpoint::Unix(path.clone())).unwrap();
    (Scene { path, client }, listener)
}

#[tokio::test]
async fn negotiates_down_and_uses_the_connection_again() {
    let (scene, listener) = scene("negotiate");
    let ok = "HTTP/1.1 200 OK\r\nApi-Version: 1.44\r\nContent-Length: 0\r\n\r\n";
    let list = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n[1,2,3]";
    let work = async {
        let mut client = scene.client.clone();
        client.negotiate().await.unwrap();
        let numbers: Vec<u32> = client.get("/x?y=1").await.unwrap();
        drop(client);
        scene.client.pool.lock().unwrap().clear();
        numbers
    };
    let (received, numbers) = tokio::join!(serve(listener, vec![ok, list]), work);
    assert_eq!(numbers, [1, 2, 3]);
    assert!(received.starts_with("HEAD /_ping HTTP/1.1\r\n"), "{received}");
    assert!(received.contains("GET /v1.44/x?y=1 HTTP/1.1\r\n"), "{received}");
}

#[tokio::test]
async fn gives_the_message_of_the_daemon() {
    let (scene, listener) = scene("message");
    let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 18\r\n\r\n{\"message\":\"gone\"}";
    let work = async {
        let error = scene.client.get::<()>("/x").await.unwrap_err();
        scene.client.pool.lock().unwrap().clear();
        error
    };
    let (_, error) = tokio::join!(serve(listener, vec![answer]), work);
    assert_eq!((error.status(), error.to_string()), (Some(StatusCode::NOT_FOUND), "gone".into()));
}

#[tokio::test]
async fn hijacks_and_closes_one_half() {
    let (scene, listener) = scene("hijack");
    let answer = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n\
                  Connection: Upgrade\r\nUpgrade: tcp\r\n\r\nhello";
    let work = async {
        let mut raw = scene.client.hijack("/exec/1/start", Body::Empty).await.unwrap();
        assert!(!raw.framed());
        let mut hello = [0; 5];
        raw.read_exact(&mut hello).await.unwrap();
        raw.write_all(b"input").await.unwrap();
        raw.shutdown().await.unwrap();
        let mut rest = Vec::new();
        raw.read_to_end(&mut rest).await.unwrap();
        hello
    };
    let (received, hello) = tokio::join!(serve(listener, vec![answer]), work);
    assert_eq!(&hello, b"hello");
    assert!(received.ends_with("input"), "{received}");
}

#[tokio::test]
async fn reads_json_values_across_chunks() {
    let (scene, listener) = scene("json");
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                  3\r\n{\"a\r\n7\r\n\":1} {\"\r\n6\r\na\":2}\n\r\n0\r\n\r\n";
    let work = async {
        let response = scene.client.post_empty("/x").await.unwrap();
        let mut values = response.json_stream::<serde_json::Value>();
        let mut all = Vec::new();
        while let Some(value) = values.next().await.unwrap() {
            all.push(value["a"].as_i64());
        }
        scene.client.pool.lock().unwrap().clear();
        all
    };
    let (_, all) = tokio::join!(serve(listener, vec![answer]), work);
    assert_eq!(all, [Some(1), Some(2)]);
}

#[test]
fn escapes_queries() {
    let text = query([("filters", r#"{"a":["b c"]}"#.to_owned()), ("t", "1".to_owned())]);
    assert_eq!(text, "?filters=%7B%22a%22%3A%5B%22b%20c%22%5D%7D&t=1");
}
