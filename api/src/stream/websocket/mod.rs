//! Attach over a websocket: output comes in binary frames, streams not told apart; frames of the client are input.
//!
//! Source: moby `daemon/server/router/container/container_routes.go wsContainersAttach`; RFC 6455.

mod frame;

use axum::body::Body;
use axum::response::Response;
use futures_util::stream::StreamExt as _;
use http::{HeaderValue, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use shoal_base::tasks::TaskKind;
use shoal_model::container::Input;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use self::frame::{Kind, accept, encode, take};
use super::detach::Detector;
use super::hijack::deliver;
use crate::error::ApiError;
use crate::ports::Session;
use crate::request::{Answer, Context};

/// Bytes read from a client at once.
const READ_MAX: usize = 32 << 10;
/// Answers to a client's pings and closings that wait.
const REPLIES: usize = 8;

/// The proof that the server speaks websocket, for a request that asks for one.
///
/// # Errors
/// When the request is none.
pub(crate) fn handshake(ctx: &Context) -> Result<String, ApiError> {
    let has = |name, value: &str| {
        let text = ctx.headers().get(name).and_then(|text: &HeaderValue| text.to_str().ok());
        text.is_some_and(|text| text.split(',').any(|word| word.trim().eq_ignore_ascii_case(value)))
    };
    let key = ctx.headers().get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
    let upgrades = has(header::UPGRADE, "websocket") && has(header::CONNECTION, "upgrade");
    match key.filter(|_| upgrades && has(header::SEC_WEBSOCKET_VERSION, "13")) {
        Some(key) => Ok(accept(key)),
        None => Err(ApiError::bad_request("not a websocket handshake of version 13")),
    }
}

/// Hands the connection over to `session`.
pub(crate) fn answer(
    mut ctx: Context,
    accepted: &str,
    session: Session,
    detach_keys: Vec<u8>,
) -> Answer {
    let Some(upgrade) = ctx.parts.extensions.remove::<OnUpgrade>() else {
        return Err(ApiError::bad_request("this connection cannot become a websocket"));
    };
    let detector = session.tty.then(|| Detector::new(detach_keys));
    ctx.ports.tasks.spawn(TaskKind::ApiConnection, async move {
        match upgrade.await {
            Ok(connection) => {
                let (reader, writer) = tokio::io::split(TokioIo::new(connection));
                pump(reader, writer, session, detector).await;
            }
            Err(error) => tracing::debug!(%error, "client left before the upgrade"),
        }
    });
    let proof = HeaderValue::from_str(accepted)
        .map_err(|_| ApiError::bad_request("malformed websocket key"))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, proof);
    Ok(response)
}

/// Moves frames both ways until the process closes its outputs, the client closes or detaches, or it vanishes.
async fn pump<R, W>(reader: R, mut writer: W, session: Session, detector: Option<Detector>)
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let (replies, mut to_send) = mpsc::channel(REPLIES);
    let Session { mut output, input, .. } = session;
    {
        let receiving = receive(reader, input, detector, replies);
        tokio::pin!(receiving);
        loop {
            let frame = tokio::select! {
                biased;
                item = output.next() => match item {
                    Some(Ok(output)) => encode(Kind::Data, &output.bytes),
                    Some(Err(failure)) => {
                        encode(Kind::Data, format!("{failure}\r\n").as_bytes())
                    }
                    None => break,
                },
                Some(reply) = to_send.recv() => reply,
                () = &mut receiving => break,
            };
            if writer.write_all(&frame).await.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
    }
    // The client may be gone already.
    let _ = writer.write_all(&encode(Kind::Close, b"")).await;
    let _ = writer.shutdown().await;
}

/// Takes what the client sends, until it closes, detaches or breaks the protocol.
async fn receive<R: AsyncRead + Unpin>(
    mut reader: R,
    mut input: Option<mpsc::Sender<Input>>,
    mut detector: Option<Detector>,
    replies: mpsc::Sender<Vec<u8>>,
) {
    let mut buffer = vec![0; READ_MAX];
    let mut received = Vec::new();
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => received.extend_from_slice(&buffer[..count]),
        }
        loop {
            let frame = match take(&mut received) {
                Ok(None) => break,
                Ok(Some(frame)) => frame,
                Err(frame::Malformed) => return deliver(&mut input, Input::End).await,
            };
            match frame.kind {
                Kind::Pong => {}
                Kind::Ping => {
                    // The writer is gone only when everything is over.
                    let _ = replies.send(encode(Kind::Pong, &frame.payload)).await;
                }
                Kind::Close => return deliver(&mut input, Input::End).await,
                Kind::Data => {
                    let mut bytes = Vec::with_capacity(frame.payload.len());
                    let detached = match &mut detector {
                        Some(detector) => detector.feed(&frame.payload, &mut bytes),
                        None => {
                            bytes = frame.payload;
                            false
                        }
                    };
                    if !bytes.is_empty() {
                        deliver(&mut input, Input::Data(bytes)).await;
                    }
                    if detached {
                        return deliver(&mut input, Input::Detached).await;
                    }
                }
            }
        }
    }
    deliver(&mut input, Input::End).await;
}

#[cfg(test)]
mod tests {
    use shoal_model::container::{Output, OutputKind};
    use tokio::io::duplex;

    use super::*;

    /// A frame as clients send it; a mask of zeroes changes nothing.
    fn from_client(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0x80 | opcode, 0x80 | length, 0, 0, 0, 0], payload].concat()
    }

    #[tokio::test]
    async fn input_is_delivered_pings_are_answered_and_the_end_is_a_closing() {
        let (sender, mut input) = mpsc::channel(8);
        let (echo, mut echoed) = mpsc::channel::<Output>(8);
        let output = futures_util::stream::poll_fn(move |cx| echoed.poll_recv(cx)).map(Ok).boxed();
        let session = Session { output, input: Some(sender), tty: false };
        let (mut client, server) = duplex(1024);
        let (reader, writer) = tokio::io::split(server);
        let process = async {
            let Some(Input::Data(bytes)) = input.recv().await else { panic!("no input") };
            echo.send(Output { kind: OutputKind::Stderr, bytes }).await.unwrap();
            let end = input.recv().await;
            drop(echo);
            end
        };
        let talk = async {
            client.write_all(&from_client(9, b"p")).await.unwrap();
            let mut pong = [0; 3];
            client.read_exact(&mut pong).await.unwrap();
            client.write_all(&from_client(1, b"hi")).await.unwrap();
            let mut seen = vec![0; 4];
            client.read_exact(&mut seen).await.unwrap();
            client.write_all(&from_client(8, b"")).await.unwrap();
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).await.unwrap();
            (pong, seen, rest)
        };
        let ((), (pong, seen, rest), end) =
            tokio::join!(pump(reader, writer, session, None), talk, process);
        assert_eq!(pong, [0x8a, 1, b'p']);
        assert_eq!(seen, [0x82, 2, b'h', b'i']);
        assert_eq!(rest, [0x88, 0]);
        assert_eq!(end, Some(Input::End));
    }
}
