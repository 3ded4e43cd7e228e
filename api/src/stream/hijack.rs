//! Hijacked connections of attach and exec: the HTTP connection becomes a raw stream both ways.

use std::io::{self, Cursor};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::StreamExt as _;
use http::{HeaderValue, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use shoal_base::SharedClock;
use shoal_base::tasks::TaskKind;
use shoal_model::Failure;
use shoal_model::container::{Input, Output, OutputKind};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::detach::Detector;
use super::frame::{self, MULTIPLEXED, RAW};
use crate::ports::{ByteStream, Session, Stream, Unread};
use crate::request::{Answer, Context, typed};

/// Bytes read from a client at once.
const READ_MAX: usize = 32 << 10;
/// How long output waits for a client that has not read the answer's head.
const HEAD_READ_MAX: Duration = Duration::from_secs(10);

/// Hands the connection over to `session`. Without `Upgrade` header the answer is 200 and the output its
/// body; input is then the request's body.
pub(crate) async fn answer(ctx: Context, session: Session, detach_keys: Vec<u8>) -> Answer {
    let tty = session.tty;
    answer_then(ctx, tty, detach_keys, std::future::ready(session).boxed()).await
}

/// As [`answer`], with a session that begins only once the client has been told of the upgrade.
pub(crate) async fn answer_then(
    mut ctx: Context,
    tty: bool,
    detach_keys: Vec<u8>,
    session: BoxFuture<'static, Session>,
) -> Answer {
    let framed = !tty;
    let kind = if framed && ctx.version.at_least(42) { MULTIPLEXED } else { RAW };
    let detector = tty.then(|| Detector::new(detach_keys));
    let wants_upgrade = ctx.headers().contains_key(header::UPGRADE);
    let upgrade = ctx.parts.extensions.remove::<OnUpgrade>().filter(|_| wants_upgrade);
    let Some(upgrade) = upgrade else {
        return Ok(plain(ctx, session.await, framed));
    };
    let (unread, clock) = (Arc::clone(&ctx.ports.unread), Arc::clone(&ctx.ports.clock));
    ctx.ports.tasks.spawn(TaskKind::ApiConnection, async move {
        let connection = match upgrade.await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!(%error, "client left before the upgrade");
                return;
            }
        };
        match connection.downcast::<TokioIo<UnixStream>>() {
            Ok(Parts { io, read_buf, .. }) => {
                let stream = io.into_inner();
                let (session, ()) = tokio::join!(session, head_read(&stream, &unread, &clock));
                let (reader, writer) = stream.into_split();
                let reader = Cursor::new(read_buf).chain(reader);
                pump(reader, writer, session, detector, framed).await;
            }
            // TCP: only the peer's kernel answers for what it took, so there is nothing to wait for.
            Err(connection) => {
                let (reader, writer) = tokio::io::split(TokioIo::new(connection));
                pump(reader, writer, session.await, detector, framed).await;
            }
        }
    });
    let mut response = typed(StatusCode::SWITCHING_PROTOCOLS, kind, Body::empty());
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("tcp"));
    Ok(response)
}

/// Waits until the client has read the answer's head: docker-py loses what it reads together with it. A
/// client that does not read cannot tell that its output waits, so the limit is generous.
async fn head_read(stream: &UnixStream, unread: &Unread, clock: &SharedClock) {
    // The kernel tells each time that the peer has taken a message; only then is asked again.
    let taken = stream.async_io(Interest::WRITABLE, || match unread(stream.as_fd())? {
        0 => Ok(()),
        _ => Err(io::ErrorKind::WouldBlock.into()),
    });
    tokio::select! {
        result = taken => if let Err(error) = result {
            tracing::debug!(%error, "cannot tell what the client has read");
        },
        () = clock.sleep(HEAD_READ_MAX) => {}
    }
}

fn plain(mut ctx: Context, session: Session, framed: bool) -> Response {
    if let Some(input) = session.input {
        let body = ctx.stream();
        ctx.ports.tasks.spawn(TaskKind::Stream, send_body(body, input));
    }
    let output = session.output.map(move |item| item.map(|output| frame::encode(output, framed)));
    typed(StatusCode::OK, RAW, Body::from_stream(output.map(|item| item.map_err(broken))))
}

async fn send_body(mut body: ByteStream, input: mpsc::Sender<Input>) {
    while let Some(Ok(chunk)) = body.next().await {
        if input.send(Input::Data(chunk.to_vec())).await.is_err() {
            return;
        }
    }
    let _ = input.send(Input::End).await;
}

pub(crate) fn broken(failure: Failure) -> std::io::Error {
    std::io::Error::other(failure.to_string())
}

/// How the client's side ended.
#[derive(PartialEq)]
enum InputEnd {
    /// It closed its half; output goes on.
    Closed,
    Detached,
    /// It vanished.
    Gone,
}

/// Moves bytes both ways until the process closes its outputs, the client detaches, or it vanishes.
async fn pump<R, W>(
    reader: R,
    mut writer: W,
    session: Session,
    detector: Option<Detector>,
    framed: bool,
) where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    {
        let input = receive(reader, session.input, detector);
        let output = send(&mut writer, session.output, framed);
        tokio::pin!(input, output);
        tokio::select! {
            biased;
            () = &mut output => {}
            end = &mut input => {
                if end == InputEnd::Closed {
                    output.await;
                }
            }
        }
    }
    // The client may be gone already.
    let _ = writer.shutdown().await;
}

async fn receive<R: AsyncRead + Unpin>(
    mut reader: R,
    mut input: Option<mpsc::Sender<Input>>,
    mut detector: Option<Detector>,
) -> InputEnd {
    let mut buffer = vec![0; READ_MAX];
    loop {
        let count = match reader.read(&mut buffer).await {
            Ok(0) => {
                deliver(&mut input, Input::End).await;
                return InputEnd::Closed;
            }
            Ok(count) => count,
            Err(_) => return InputEnd::Gone,
        };
        let mut bytes = Vec::with_capacity(count);
        let detached = match &mut detector {
            Some(detector) => detector.feed(&buffer[..count], &mut bytes),
            None => {
                bytes.extend_from_slice(&buffer[..count]);
                false
            }
        };
        if !bytes.is_empty() {
            deliver(&mut input, Input::Data(bytes)).await;
        }
        if detached {
            deliver(&mut input, Input::Detached).await;
            return InputEnd::Detached;
        }
    }
}

/// Input for a process that takes none any more is dropped, as a closed pipe would.
pub(super) async fn deliver(input: &mut Option<mpsc::Sender<Input>>, item: Input) {
    if let Some(sender) = input
        && sender.send(item).await.is_err()
    {
        *input = None;
    }
}

async fn send<W: AsyncWrite + Unpin>(writer: &mut W, mut output: Stream<Output>, framed: bool) {
    while let Some(item) = output.next().await {
        let item = item.unwrap_or_else(|failure| Output {
            kind: OutputKind::Stderr,
            bytes: format!("{failure}\r\n").into_bytes(),
        });
        let bytes = frame::encode(item, framed);
        if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use tokio::io::duplex;

    fn session(output: Stream<Output>, tty: bool) -> (Session, mpsc::Receiver<Input>) {
        let (sender, receiver) = mpsc::channel(8);
        (Session { output, input: Some(sender), tty }, receiver)
    }

    async fn run(session: Session, typed: &[u8], detector: Option<Detector>) -> Vec<u8> {
        let (mut client, server) = duplex(1024);
        let (reader, writer) = tokio::io::split(server);
        let talk = async {
            client.write_all(typed).await.unwrap();
            client.shutdown().await.unwrap();
            let mut seen = Vec::new();
            client.read_to_end(&mut seen).await.unwrap();
            seen
        };
        let framed = !session.tty;
        let ((), seen) = tokio::join!(pump(reader, writer, session, detector, framed), talk);
        seen
    }

    #[tokio::test]
    async fn output_goes_on_after_the_client_closed_its_half() {
        let (echo, mut echoed) = mpsc::channel::<Output>(8);
        let output = stream::poll_fn(move |cx| echoed.poll_recv(cx)).map(Ok).boxed();
        let (session, mut input) = session(output, false);
        let process = async {
            let mut all = Vec::new();
            while let Some(Input::Data(bytes)) = input.recv().await {
                all.extend(bytes);
            }
            echo.send(Output { kind: OutputKind::Stdout, bytes: all }).await.unwrap();
            drop(echo);
        };
        let (seen, ()) = tokio::join!(run(session, b"hi", None), process);
        assert_eq!(seen, b"\x01\0\0\0\0\0\0\x02hi");
    }

    #[tokio::test]
    async fn detaching_ends_the_connection_and_not_the_input() {
        let (session, mut input) = session(stream::pending().boxed(), true);
        let keys = Detector::new(vec![16, 17]);
        let seen = run(session, b"x\x10\x11y", Some(keys)).await;
        assert!(seen.is_empty());
        assert_eq!(input.recv().await, Some(Input::Data(b"x".to_vec())));
        assert_eq!(input.recv().await, Some(Input::Detached));
        assert_eq!(input.recv().await, None);
    }
}
