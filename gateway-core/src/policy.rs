//! Policies of routes: how a rule of another crate is put into the request path.
//!
//! A [`Guard`] looks at a request's head and lets it pass or answers in its place. All guards of a rule
//! run in one loop; each is also a tower Layer of its own through [`GuardLayer`], which tells clients of
//! gRPC in their way.
//!
//! ```
//! use http::request::Parts;
//! use http::{Request, Response, StatusCode};
//! use tower::{Layer, ServiceExt, service_fn};
//! use towergate_core::policy::{Guard, GuardLayer, Rejection, ResponseEdits};
//!
//! /// Only reading.
//! #[derive(Debug)]
//! struct ReadOnly;
//!
//! impl Guard for ReadOnly {
//!     fn check(&self, head: &mut Parts) -> Result<ResponseEdits, Rejection> {
//!         if head.method.is_safe() {
//!             Ok(ResponseEdits::new())
//!         } else {
//!             Err(Rejection::new(StatusCode::METHOD_NOT_ALLOWED, "read_only"))
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let service = GuardLayer::new(ReadOnly).layer(service_fn(|_: Request<()>| async {
//!     Ok::<_, std::io::Error>(Response::new(bytes::Bytes::from("hello")))
//! }));
//!
//! let read = Request::get("/").body(())?;
//! assert_eq!(service.clone().oneshot(read).await?.status(), 200);
//! let write = Request::delete("/").body(())?;
//! assert_eq!(service.oneshot(write).await?.status(), 405);
//! # Ok(())
//! # }
//! ```

use std::fmt::Debug;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::{Either, MapOk, TryFutureExt};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, request};
use serde::{Deserialize, Serialize};
use tower_layer::Layer;
use tower_service::Service;

use crate::http::grpc::{is_grpc, refusal};
use crate::plan::Rule;
use crate::snapshot::Live;

/// Header fields that a guard adds to the response, whoever gives it.
pub type ResponseEdits = Vec<(HeaderName, HeaderValue)>;

/// A rule that looks at a request's head and lets it pass, or answers in place of the service.
pub trait Guard: Debug + Send + Sync + 'static {
    /// Decides. May edit the head of a request that it lets pass, and add fields to the response.
    fn check(&self, head: &mut request::Parts) -> Result<ResponseEdits, Rejection>;
}

/// What a policy of a plan becomes when it runs.
pub trait RoutePolicy: Clone + Debug + PartialEq + Send + Sync + 'static {
    /// Builds the guard for `rule`. What must outlive a change of the configuration is in `live`.
    fn guard(&self, rule: &Rule<Self>, live: &Live) -> Arc<dyn Guard>;
}

/// The policy type of a plan without policies.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum NoPolicy {}

impl RoutePolicy for NoPolicy {
    fn guard(&self, _rule: &Rule<Self>, _live: &Live) -> Arc<dyn Guard> {
        match *self {}
    }
}

/// A guard's answer in place of the service: a rule said no.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// The status.
    pub status: StatusCode,
    /// The text of the body; plain text.
    pub body: &'static str,
    /// Further header fields.
    pub headers: ResponseEdits,
    /// Envoy's response flag.
    pub flag: &'static str,
    /// Envoy's response code details.
    pub details: &'static str,
}

impl Rejection {
    /// An answer without a body.
    pub fn new(status: StatusCode, details: &'static str) -> Self {
        Self {
            status,
            body: "",
            headers: Vec::new(),
            flag: "",
            details,
        }
    }

    /// 403, with no body.
    pub fn forbidden(details: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, details)
    }

    /// The answer as a response.
    pub fn into_response<B: From<Bytes>>(self) -> Response<B> {
        let mut response = Response::new(B::from(Bytes::from_static(self.body.as_bytes())));
        *response.status_mut() = self.status;
        if !self.body.is_empty() {
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        append(response.headers_mut(), self.headers);
        response
    }

    /// The answer as a response to a request with these header fields: a gRPC client gets 200 with the
    /// status in `grpc-status` and the text in `grpc-message`, as from the gateway itself.
    pub fn into_response_to<B: From<Bytes>>(self, request: &HeaderMap) -> Response<B> {
        if !is_grpc(request) {
            return self.into_response();
        }
        let mut response = Response::new(B::from(Bytes::new()));
        *response.headers_mut() = refusal(self.status, self.body);
        append(response.headers_mut(), self.headers);
        response
    }
}

fn append(headers: &mut HeaderMap, edits: ResponseEdits) {
    for (name, value) in edits {
        headers.append(name, value);
    }
}

/// Applies a [`Guard`] in front of any HTTP service.
#[derive(Clone, Debug)]
pub struct GuardLayer(Arc<dyn Guard>);

impl GuardLayer {
    /// A layer for `guard`, which all its services share.
    pub fn new(guard: impl Guard) -> Self {
        Self(Arc::new(guard))
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = GuardService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        GuardService {
            guard: self.0.clone(),
            inner,
        }
    }
}

/// What [`GuardLayer`] makes of a service.
#[derive(Clone, Debug)]
pub struct GuardService<S> {
    guard: Arc<dyn Guard>,
    inner: S,
}

/// Adds a guard's fields to a response.
type Edit<R> = Box<dyn FnOnce(Response<R>) -> Response<R> + Send>;

impl<S, B, R> Service<Request<B>> for GuardService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Bytes>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<MapOk<S::Future, Edit<R>>, Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        let (mut head, body) = req.into_parts();
        match self.guard.check(&mut head) {
            Ok(edits) => {
                let edit: Edit<R> = Box::new(move |mut response| {
                    append(response.headers_mut(), edits);
                    response
                });
                Either::Left(
                    self.inner
                        .call(Request::from_parts(head, body))
                        .map_ok(edit),
                )
            }
            Err(rejection) => {
                let response = rejection.into_response_to(&head.headers);
                Either::Right(ready(Ok(response)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_client_is_told_in_its_way() {
        let rejection = || Rejection {
            body: "no more",
            headers: vec![(HeaderName::from_static("x-left"), 0.into())],
            ..Rejection::new(StatusCode::TOO_MANY_REQUESTS, "limited")
        };
        let grpc = HeaderMap::from_iter([(CONTENT_TYPE, "application/grpc".parse().unwrap())]);

        let to_grpc: Response<Bytes> = rejection().into_response_to(&grpc);
        let to_others: Response<Bytes> = rejection().into_response_to(&HeaderMap::new());

        assert_eq!((to_grpc.status().as_u16(), to_grpc.body().len()), (200, 0));
        assert_eq!(to_grpc.headers()["grpc-status"], "14");
        assert_eq!(to_grpc.headers()["grpc-message"], "no more");
        assert_eq!(to_grpc.headers()["x-left"], "0");
        assert_eq!(
            (to_others.status().as_u16(), &to_others.body()[..]),
            (429, &b"no more"[..])
        );
    }
}
