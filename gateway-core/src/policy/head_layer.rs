//! Layer that applies a head policy in front of any HTTP service.

use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::{Either, MapOk, TryFutureExt};
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::{HeadPolicy, RequestHead, ResponseEffects};

/// Applies a [`HeadPolicy`] in front of any HTTP service. The types of bodies are unchanged.
pub struct HeadPolicyLayer<P>(Arc<P>);

impl<P: HeadPolicy> HeadPolicyLayer<P> {
    /// Creates a layer whose services share `policy`.
    pub fn new(policy: P) -> Self {
        Self(Arc::new(policy))
    }
}

impl<P> Clone for HeadPolicyLayer<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P> fmt::Debug for HeadPolicyLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeadPolicyLayer").finish_non_exhaustive()
    }
}

impl<S, P> Layer<S> for HeadPolicyLayer<P> {
    type Service = HeadPolicyService<S, Arc<P>>;

    fn layer(&self, inner: S) -> Self::Service {
        HeadPolicyService::new(self.0.clone(), inner)
    }
}

/// Service of [`HeadPolicyLayer`], and of layers that implement a policy themselves.
#[derive(Clone, Copy, Debug)]
pub struct HeadPolicyService<S, P> {
    policy: P,
    inner: S,
}

impl<S, P> HeadPolicyService<S, P> {
    /// Creates a service that applies `policy` in front of `inner`.
    pub fn new(policy: P, inner: S) -> Self {
        Self { policy, inner }
    }
}

/// Function that applies the response halves.
type ApplyEffects<R> = Box<dyn FnOnce(Response<R>) -> Response<R> + Send>;

impl<S, P, B, R> Service<Request<B>> for HeadPolicyService<S, P>
where
    S: Service<Request<B>, Response = Response<R>>,
    P: HeadPolicy,
    R: From<Bytes>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<
        Either<S::Future, MapOk<S::Future, ApplyEffects<R>>>,
        Ready<Result<S::Response, S::Error>>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let mut effects = ResponseEffects::default();
        let checked = self
            .policy
            .check(&mut RequestHead::outside_gateway(&mut head, &mut effects));
        if let Err(reply) = checked {
            let mut response: Response<R> = reply.into_response_to(&head.headers);
            effects.apply_to_headers(response.headers_mut());
            return Either::Right(ready(Ok(response)));
        }
        let response = self.inner.call(Request::from_parts(head, body));
        if effects.is_empty() {
            return Either::Left(Either::Left(response));
        }
        let apply: ApplyEffects<R> = Box::new(move |mut response| {
            effects.apply_to_headers(response.headers_mut());
            response
        });
        Either::Left(Either::Right(response.map_ok(apply)))
    }
}
