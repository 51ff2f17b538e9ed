//! The body of a gRPC response, whose trailers report whether the call succeeded.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use towergate_core::{Body, BoxError};

use super::Controller;

/// Counts a call by the status in its trailers. A call without trailers counts as a failure.
pub(super) struct ObservedBody {
    inner: Body,
    /// `None` if the call has been counted, or if the client has disconnected.
    controller: Option<Arc<Controller>>,
}

impl ObservedBody {
    pub(super) fn new(inner: Body, controller: Arc<Controller>) -> Self {
        Self {
            inner,
            controller: Some(controller),
        }
    }

    fn record(&mut self, frame: Option<&Frame<Bytes>>) {
        let fields = match frame {
            Some(frame) if frame.is_data() => return,
            Some(frame) => frame.trailers_ref(),
            None => None,
        };
        if let Some(controller) = self.controller.take() {
            let success = fields.and_then(|fields| controller.rule.is_grpc_success(fields));
            controller.window.record(success.unwrap_or(false));
        }
    }
}

impl http_body::Body for ObservedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => this.record(Some(frame)),
            Some(Err(_)) | None => this.record(None),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
