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
//! use towergate_core::LocalReply;
//! use towergate_core::policy::{Guard, GuardLayer, ResponseEdits};
//!
//! /// Only reading.
//! #[derive(Debug)]
//! struct ReadOnly;
//!
//! impl Guard for ReadOnly {
//!     fn check(&self, head: &mut Parts) -> Result<ResponseEdits, LocalReply> {
//!         if head.method.is_safe() {
//!             Ok(ResponseEdits::new())
//!         } else {
//!             Err(LocalReply::new(StatusCode::METHOD_NOT_ALLOWED, "read_only"))
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
use http::{HeaderMap, Request, Response, request};
use serde::{Deserialize, Serialize};
use tower_layer::Layer;
use tower_service::Service;

use crate::LocalReply;
#[cfg(feature = "gateway")]
use crate::live::Live;
#[cfg(feature = "gateway")]
use crate::plan::Rule;

/// Header fields that a guard adds to the response, whoever gives it.
pub type ResponseEdits = crate::HeaderList;

/// A rule that looks at a request's head and lets it pass, or answers in place of the service.
pub trait Guard: Debug + Send + Sync + 'static {
    /// Decides. May edit the head of a request that it lets pass, and add fields to the response.
    fn check(&self, head: &mut request::Parts) -> Result<ResponseEdits, LocalReply>;
}

/// What a policy of a plan becomes when it runs.
#[cfg(feature = "gateway")]
pub trait RoutePolicy: Clone + Debug + PartialEq + Send + Sync + 'static {
    /// Builds the guard for `rule`. What must outlive a change of the configuration is in `live`.
    fn guard(&self, rule: &Rule<Self>, live: &Live) -> Arc<dyn Guard>;
}

/// The policy type of a plan without policies.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum NoPolicy {}

#[cfg(feature = "gateway")]
impl RoutePolicy for NoPolicy {
    fn guard(&self, _rule: &Rule<Self>, _live: &Live) -> Arc<dyn Guard> {
        match *self {}
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
            Err(reply) => {
                let response = reply.into_response_to(&head.headers);
                Either::Right(ready(Ok(response)))
            }
        }
    }
}
