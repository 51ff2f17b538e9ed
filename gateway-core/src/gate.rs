//! Services that let a request pass by its head, or answer in place of the service behind them.
//!
//! ```text
//! request ──Gate::pass──> Ok ──> the inner service
//!                     └──> Err(response)
//! ```
//!
//! [`SanitizeLayer`](crate::http::SanitizeLayer), [`ClientIpLayer`](crate::http::client_ip::ClientIpLayer)
//! and [`RedirectLayer`](crate::filter::RedirectLayer) are gates.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::Either;
use http::{Request, Response, request};
use tower_service::Service;

/// Decides by the head of a request.
pub trait Gate {
    /// Lets the request pass, and may edit its head then.
    ///
    /// # Errors
    /// The answer in place of the service.
    fn pass<R: From<Bytes>>(&self, head: &mut request::Parts) -> Result<(), Response<R>>;
}

/// A [`Gate`] in front of a service.
#[derive(Clone, Copy, Debug)]
pub struct Gated<S, G> {
    gate: G,
    inner: S,
}

impl<S, G> Gated<S, G> {
    /// Puts `gate` in front of `inner`.
    pub fn new(gate: G, inner: S) -> Self {
        Self { gate, inner }
    }
}

impl<S, G, B, R> Service<Request<B>> for Gated<S, G>
where
    S: Service<Request<B>, Response = Response<R>>,
    G: Gate,
    R: From<Bytes>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        match self.gate.pass(&mut head) {
            Ok(()) => Either::Left(self.inner.call(Request::from_parts(head, body))),
            Err(response) => Either::Right(ready(Ok(response))),
        }
    }
}
