//! Bodies whose trailers are read or edited when they arrive.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use crate::{Body, BoxError};

/// A body that passes its trailers to `edit`. Data frames are unchanged.
pub(crate) struct TrailersBody<F> {
    body: Body,
    edit: F,
}

impl<F: FnMut(&mut HeaderMap)> TrailersBody<F> {
    pub(crate) fn new(body: Body, edit: F) -> Self {
        Self { body, edit }
    }
}

impl<F: FnMut(&mut HeaderMap) + Unpin> http_body::Body for TrailersBody<F> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let mut frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            (this.edit)(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
