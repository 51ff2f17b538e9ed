//! The hyper service of a connection: passes its requests to a [`Handler`] and tracks them.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::Handler;
use super::activity::{Activity, TrackedRequest};
use super::{NoResponse, stream_task};
use crate::Body;
use crate::body::BoxError;
use crate::conn::ConnInfo;

/// The hyper service of one connection. It passes requests to the handler, and tracks each request until its
/// response body is dropped.
#[derive(Debug)]
pub(super) struct TrackedService<H> {
    pub(super) handler: H,
    pub(super) info: Arc<ConnInfo>,
    pub(super) activity: Arc<Activity>,
    pub(super) http1: bool,
}

impl<H: Handler> hyper::service::Service<Request<Incoming>> for TrackedService<H> {
    type Response = Response<TrackedBody>;
    type Error = Infallible;
    type Future = ResponseFuture<H::Future>;

    fn call(&self, mut request: Request<Incoming>) -> ResponseFuture<H::Future> {
        let length = self.http1.then(|| request.body().size_hint().exact());
        let (tracked, lenient) = TrackedRequest::begin(&self.activity, length.flatten());
        if self.http1
            && let Some(upgrade) = request.extensions().get::<OnUpgrade>()
        {
            self.activity.state().pending_upgrade = Some(upgrade.clone());
        }
        if let Some(lenient) = lenient {
            request.extensions_mut().insert(lenient);
        }
        let connect = *request.method() == Method::CONNECT;
        let head = *request.method() == Method::HEAD;
        ResponseFuture {
            future: Some(self.handler.handle(&self.info, request)),
            tracked: Some(tracked),
            connect,
            head,
            http1: self.http1,
        }
    }
}

pin_project_lite::pin_project! {
    /// Future of the response to one request.
    pub(super) struct ResponseFuture<F> {
        #[pin]
        future: Option<F>,
        tracked: Option<TrackedRequest>,
        connect: bool,
        head: bool,
        http1: bool,
    }

    impl<F> PinnedDrop for ResponseFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let tracked = this.tracked.as_ref().filter(|_| !*this.http1);
            if let Some(cause) = tracked.and_then(TrackedRequest::drop_cause) {
                stream_task::drop_because(cause, || this.future.set(None));
            }
        }
    }
}

impl<F: Future<Output = Response<Body>>> Future for ResponseFuture<F> {
    type Output = Result<Response<TrackedBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let future = this.future.as_pin_mut();
        let mut response = ready!(future.expect("not dropped").poll(cx));
        let mut tracked = this.tracked.take().expect("not polled after the response");

        let status = response.status();
        let tunnel =
            status == StatusCode::SWITCHING_PROTOCOLS || (*this.connect && status.is_success());
        if *this.http1 && response.extensions().get::<NoResponse>().is_some() {
            // The timers of the connection end it.
            tracked.abandon();
            *this.tracked = Some(tracked);
            return Poll::Pending;
        }
        let closes = tracked.on_response(tunnel);
        if *this.http1 && closes && !tunnel {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        stream_task::report_part();
        let http2 = !*this.http1;
        if http2 && (*this.head || has_no_content(status)) {
            drop(std::mem::take(response.body_mut()));
        }
        if status == StatusCode::NO_CONTENT {
            response.headers_mut().remove(CONTENT_LENGTH);
        }
        Poll::Ready(Ok(response.map(|body| TrackedBody {
            body,
            tracked,
            http2,
        })))
    }
}

/// Whether a response with this status has no content, whatever its body. hyper applies this rule, and that of
/// HEAD (RFC 9110, section 9.3.2), to HTTP/1 only.
fn has_no_content(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Response body. Dropping it ends the tracked request.
#[derive(Debug)]
pub(super) struct TrackedBody {
    body: Body,
    tracked: TrackedRequest,
    http2: bool,
}

impl Drop for TrackedBody {
    /// If the codec drops an incomplete body, the body can query the reason while it is dropped
    /// ([`stream_task::drop_cause`]).
    fn drop(&mut self) {
        let incomplete = self.http2 && !self.body.is_end_stream();
        if incomplete
            && stream_task::drop_cause().is_none()
            && let Some(cause) = self.tracked.drop_cause()
        {
            stream_task::drop_because(cause, || drop(std::mem::take(&mut self.body)));
        }
    }
}

impl http_body::Body for TrackedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.get_mut().body).poll_frame(cx);
        // These reports have an effect only with HTTP/2. With HTTP/1, a client that does not read blocks the
        // writes of its connection, and writes have their own time limit.
        match &frame {
            Poll::Ready(_) => stream_task::report_part(),
            Poll::Pending => stream_task::report_wait(),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
