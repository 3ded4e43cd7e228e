//! Answers that are a sequence of JSON values: progress, events, statistics.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::StatusCode;
use serde::Serialize;
use shoal_api_wire::image::{ErrorDetail, ProgressMessage};
use shoal_model::Failure;

use crate::error::{ApiError, Verb, message};
use crate::ports::Stream;
use crate::request::typed;

/// One value and its end of line.
pub(crate) fn line(value: &impl Serialize, end: &str) -> Bytes {
    // Wire types are maps of texts and numbers: they always encode.
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.extend_from_slice(end.as_bytes());
    bytes.into()
}

/// 200 with `lines` as they come.
pub(crate) fn answer<S>(lines: S) -> Response
where
    S: futures_util::Stream<Item = Bytes> + Send + 'static,
{
    let body = Body::from_stream(lines.map(Ok::<_, std::convert::Infallible>));
    typed(StatusCode::OK, "application/json", body)
}

/// A stream whose first item decides the status: a failure before anything happened is an error of its own,
/// a later one becomes the last message.
pub(crate) async fn progress<T, V>(
    mut items: Stream<T>,
    convert: impl Fn(T) -> Vec<V> + Send + 'static,
) -> Result<Response, ApiError>
where
    T: Send + 'static,
    V: Serialize,
{
    let first = match items.next().await {
        Some(Err(failure)) => return Err(failure.into()),
        first => first,
    };
    let lines = stream::iter(first).chain(items).map(move |item| match item {
        Ok(item) => convert(item).iter().flat_map(|value| line(value, "\r\n")).collect(),
        Err(failure) => error_line(&failure),
    });
    Ok(answer(lines))
}

/// The message that ends a progress stream in failure.
pub(crate) fn error_line(failure: &Failure) -> Bytes {
    let text = message(failure, Verb::Other);
    let error_detail = Some(ErrorDetail { code: 0, message: text.clone() });
    line(&ProgressMessage { error_detail, error: text, ..Default::default() }, "\r\n")
}
