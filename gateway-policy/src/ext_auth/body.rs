//! The body of a request that is also sent to an authorization service: read up to a limit, then replayed to the backend.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use towergate_core::body::BoxError;
use towergate_core::{Body, Error, LocalReply};

use super::{LongerBody, SentBody};

/// The part of a body that a service receives.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct SentPart {
    /// The bytes that the service receives.
    pub(super) data: Bytes,
    /// Whether more bytes follow.
    pub(super) partial: bool,
}

impl SentPart {
    /// The value of `x-envoy-auth-partial-body`: `true` or `false`.
    pub(super) fn is_partial(&self) -> HeaderValue {
        HeaderValue::from_static(if self.partial { "true" } else { "false" })
    }
}

impl SentBody {
    /// Reads the part of `body` that a service receives. `announced` is its `Content-Length`.
    /// `body` can then be read from its start again.
    ///
    /// # Errors
    /// The reply to a body that is too long, or that cannot be read.
    pub(super) async fn read(
        &self,
        announced: Option<u64>,
        body: &mut Body,
    ) -> Result<SentPart, LocalReply> {
        let least = announced.unwrap_or(0).max(body.size_hint().lower());
        if self.longer == LongerBody::Reject && least > self.max_bytes as u64 {
            return Err(too_long());
        }
        let mut replay = ReplayedBody::new(std::mem::take(body));
        let (mut text, mut partial) = (BytesMut::new(), false);
        while let Some(data) = replay.read().await? {
            let room = self.max_bytes - text.len();
            partial = data.len() > room;
            if partial && self.longer == LongerBody::Reject {
                *body = replay.into_body();
                return Err(too_long());
            }
            text.extend_from_slice(&data[..data.len().min(room)]);
            if partial {
                break;
            }
        }
        *body = replay.into_body();
        Ok(SentPart {
            data: text.freeze(),
            partial,
        })
    }
}

/// The `Content-Length` of a head.
pub(super) fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_long() -> LocalReply {
    LocalReply::new(StatusCode::PAYLOAD_TOO_LARGE, "request_payload_too_large")
        .with_body("Payload Too Large")
}

/// A body whose beginning has been read.
struct ReplayedBody {
    read: VecDeque<Frame<Bytes>>,
    rest: Body,
    /// Length of the whole body, if it is known in advance.
    hint: SizeHint,
    /// Bytes that were replayed.
    replayed: u64,
}

impl ReplayedBody {
    fn new(body: Body) -> Self {
        Self {
            read: VecDeque::new(),
            hint: body.size_hint(),
            rest: body,
            replayed: 0,
        }
    }

    /// Reads the next bytes and keeps them. `None`: the body has ended.
    async fn read(&mut self) -> Result<Option<Bytes>, LocalReply> {
        while let Some(frame) = self.rest.frame().await {
            let frame = frame.map_err(|cause| Error::RequestBody(cause).reply())?;
            let data = frame.data_ref().cloned();
            self.read.push_back(frame);
            if data.is_some() {
                return Ok(data);
            }
        }
        Ok(None)
    }

    fn into_body(self) -> Body {
        if self.read.is_empty() {
            return self.rest;
        }
        Body::new(self)
    }
}

impl http_body::Body for ReplayedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.read.pop_front() {
            Some(frame) => {
                self.replayed += frame.data_ref().map_or(0, |data| data.len() as u64);
                Poll::Ready(Some(Ok(frame)))
            }
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    /// Returns the length that the client announced. A chunked body therefore stays chunked.
    fn size_hint(&self) -> SizeHint {
        if self.read.is_empty() {
            return self.rest.size_hint();
        }
        match self.hint.exact() {
            Some(length) => SizeHint::with_exact(length.saturating_sub(self.replayed)),
            None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;

    use super::*;

    fn chunked(chunks: &[&'static str]) -> Body {
        let frames: Vec<_> = chunks
            .iter()
            .map(|chunk| Ok::<_, BoxError>(Frame::data(Bytes::from_static(chunk.as_bytes()))))
            .collect();
        Body::new(StreamBody::new(futures_util::stream::iter(frames)))
    }

    fn limit(max_bytes: usize, longer: LongerBody) -> SentBody {
        SentBody { max_bytes, longer }
    }

    async fn read(settings: SentBody, body: &mut Body) -> Result<(String, bool), StatusCode> {
        let part = settings.read(None, body).await;
        let part = part.map_err(|reply| reply.status)?;
        Ok((String::from_utf8(part.data.to_vec()).unwrap(), part.partial))
    }

    async fn rest(body: Body) -> Bytes {
        body.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn the_backend_receives_a_body_that_the_service_has_received() {
        let mut body = chunked(&["abc", "def"]);

        let sent = read(limit(6, LongerBody::Reject), &mut body).await;

        assert_eq!(sent, Ok(("abcdef".to_owned(), false)));
        assert_eq!(body.size_hint().exact(), None, "chunked as before");
        assert_eq!(rest(body).await, "abcdef");
    }

    #[tokio::test]
    async fn a_known_length_stays_known() {
        let mut body = Body::from("abcdef");

        let sent = read(limit(100, LongerBody::Reject), &mut body).await;

        assert_eq!(sent, Ok(("abcdef".to_owned(), false)));
        assert_eq!(body.size_hint().exact(), Some(6));
        assert_eq!(rest(body).await, "abcdef");
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_rejected_announced_or_not() {
        let settings = limit(5, LongerBody::Reject);
        let too_long = StatusCode::PAYLOAD_TOO_LARGE;

        assert_eq!(
            read(settings, &mut chunked(&["abc", "def"])).await,
            Err(too_long)
        );
        assert_eq!(
            read(settings, &mut Body::from("abcdef")).await,
            Err(too_long)
        );
        assert!(read(settings, &mut Body::from("abcde")).await.is_ok());
        let reply = settings.read(Some(6), &mut chunked(&[])).await.unwrap_err();
        assert_eq!(reply.status, too_long);
    }

    #[tokio::test]
    async fn a_truncated_body_reaches_the_backend_whole() {
        let mut body = chunked(&["abc", "def", "ghi"]);

        let sent = read(limit(4, LongerBody::Truncate), &mut body).await;

        assert_eq!(sent, Ok(("abcd".to_owned(), true)));
        assert_eq!(rest(body).await, "abcdefghi");
    }

    #[tokio::test]
    async fn a_body_of_the_limit_is_not_partial() {
        let mut body = chunked(&["abc", "def"]);

        let sent = read(limit(6, LongerBody::Truncate), &mut body).await;

        assert_eq!(sent, Ok(("abcdef".to_owned(), false)));
    }

    #[tokio::test]
    async fn an_empty_body_stays_empty() {
        let mut body = Body::empty();

        let sent = read(limit(6, LongerBody::Reject), &mut body).await;

        assert_eq!(sent, Ok((String::new(), false)));
        assert!(body.is_end_stream());
    }
}
