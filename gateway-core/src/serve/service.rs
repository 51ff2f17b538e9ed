//! Puts the requests of a connection to a [`Handler`], and notes how they go.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::Handler;
use super::activity::{Activity, Exchange};
use crate::Body;
use crate::body::BoxError;
use crate::conn::ConnInfo;

/// What hyper calls for each request of one connection.
#[derive(Debug)]
pub(crate) struct Answering<H> {
    pub(crate) handler: H,
    pub(crate) info: Arc<ConnInfo>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) http1: bool,
}

impl<H: Handler> hyper::service::Service<Request<Incoming>> for Answering<H> {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Call<H::Future>;

    fn call(&self, mut request: Request<Incoming>) -> Call<H::Future> {
        if let Some(mended) = self.activity.take_mended() {
            request.extensions_mut().insert(mended);
        }
        let body = self.http1.then(|| request.body().size_hint().exact());
        let exchange = Exchange::begin(&self.activity, body.flatten());
        let connect = *request.method() == Method::CONNECT;
        Call {
            future: self.handler.handle(&self.info, request),
            exchange: Some(exchange),
            connect,
            http1: self.http1,
        }
    }
}

pin_project_lite::pin_project! {
    /// Waits for the answer to one request.
    pub(crate) struct Call<F> {
        #[pin]
        future: F,
        exchange: Option<Exchange>,
        connect: bool,
        http1: bool,
    }
}

impl<F: Future<Output = Response<Body>>> Future for Call<F> {
    type Output = Result<Response<AnswerBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.future.poll(cx));
        let mut exchange = this.exchange.take().expect("not polled after the answer");

        let activity = exchange.answer();
        let status = response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS || (*this.connect && status.is_success()) {
            activity.note_tunnel();
        } else if *this.http1 && activity.closes() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        let http1 = *this.http1;
        Poll::Ready(Ok(response.map(|body| AnswerBody {
            body,
            exchange,
            http1,
        })))
    }
}

/// The body of an answer, which ends the exchange when it is dropped.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    body: Body,
    exchange: Exchange,
    http1: bool,
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.http1 {
            // A client that takes nothing blocks the connection, which is noted there.
            return Pin::new(&mut this.body).poll_frame(cx);
        }
        this.exchange.note_held(false);
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        this.exchange
            .note_held(matches!(frame, Poll::Ready(Some(_))));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
