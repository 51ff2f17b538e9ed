//! Bodies whose frames are translated while they are read.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use crate::body::BoxError;
use crate::policy::RejectedBody;
use crate::{Body, LocalReply};

/// Translates the frames of one body in order.
pub(super) trait Transcoder {
    /// Translates a piece of data. Returns `None` if the piece yields no data yet.
    ///
    /// # Errors
    /// The reply to an invalid body. Later calls begin a new body.
    fn data(&mut self, piece: Bytes) -> Result<Option<Bytes>, LocalReply>;

    /// Returns the last frame, which is sent at the end of the body, or instead of its trailers. `None` if
    /// there is no last frame.
    ///
    /// # Errors
    /// The reply to an invalid body. Later calls begin a new body.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Option<Frame<Bytes>>, LocalReply>;

    /// Whether all data that has been passed to [`Self::data`] has been translated and returned.
    fn is_complete(&self) -> bool;
}

/// A body with translated frames. Its length is reported as unknown.
pub(super) struct TranscodedBody<T> {
    body: Body,
    transcoder: T,
}

impl<T: Transcoder> TranscodedBody<T> {
    pub(super) fn new(body: Body, transcoder: T) -> Self {
        Self { body, transcoder }
    }

    /// Translates the next frame of the body. Returns `None` if the frame yields no translated frame yet.
    fn translate(&mut self, frame: Option<Frame<Bytes>>) -> Option<Translated> {
        let trailers = match frame.map(Frame::into_data) {
            Some(Ok(piece)) => {
                let data = self.transcoder.data(piece).transpose()?;
                return Some(data.map(|data| Some(Frame::data(data))));
            }
            Some(Err(frame)) => frame.into_trailers().ok(),
            None => None,
        };
        self.body = Body::empty();
        Some(self.transcoder.end(trailers))
    }
}

/// A translated frame. `None` at the end of the body.
type Translated = Result<Option<Frame<Bytes>>, LocalReply>;

impl<T: Transcoder + Unpin> http_body::Body for TranscodedBody<T> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                frame => frame.and_then(Result::ok),
            };
            match self.translate(frame) {
                Some(Ok(frame)) => return Poll::Ready(frame.map(Ok)),
                Some(Err(reply)) => {
                    self.body = Body::empty();
                    return Poll::Ready(Some(Err(RejectedBody(reply).into())));
                }
                None => {}
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && self.transcoder.is_complete()
    }
}
