//! Layer that applies a policy of any form in front of any HTTP service.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use super::chain::{ChainCursor, ChainStop, PolicyChain};
use super::effects::Formatter;
use super::{BuiltPolicy, FilledFields, PolicyRequest, RequestHead, ResponseEffects, Stage};
use crate::body::BoxError;
use crate::format::{Format, FormatContext, FormatRequest};
use crate::http::grpc::is_grpc;
use crate::{Body, LocalReply};

/// Applies a [`BuiltPolicy`] in front of any HTTP service. Bodies are converted to [`Body`].
///
/// `PolicyLayer::of_policies` applies the policies of a plan, such as those of a SecurityPolicy. For head
/// policies, [`HeadPolicyLayer`](super::HeadPolicyLayer) is an alternative that keeps the types of bodies.
#[derive(Clone, Debug)]
pub struct PolicyLayer(pub(super) Arc<PolicyChain>);

impl PolicyLayer {
    /// Creates a layer whose services share `policy`.
    pub fn new(policy: BuiltPolicy) -> Self {
        // The stage is arbitrary: it orders the policies of a chain, and this chain has only one.
        Self(Arc::new(PolicyChain::new(vec![(Stage::Extension, policy)])))
    }
}

impl<S> Layer<S> for PolicyLayer {
    type Service = PolicyService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PolicyService {
            chain: self.0.clone(),
            inner,
        }
    }
}

/// Service of [`PolicyLayer`].
#[derive(Clone, Debug)]
pub struct PolicyService<S> {
    chain: Arc<PolicyChain>,
    inner: S,
}

/// Future of [`PolicyService`].
type ResponseFuture<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S, B, R> Service<Request<B>> for PolicyService<S>
where
    S: Service<Request<Body>, Response = Response<R>, Future: Send> + Clone + Send + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    R: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let chain = self.chain.clone();
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let request = request.map(Body::new);
        Box::pin(async move {
            let mut effects = ResponseEffects::default();
            let grpc = is_grpc(request.headers());
            let mut kept = None;
            let (mut response, local) = match run(&chain, request, &mut effects).await {
                Ok(mut request) => {
                    if effects.keeps_head() {
                        let (head, body) = request.into_parts();
                        kept = Some(head.clone());
                        request = Request::from_parts(head, body);
                    }
                    (inner.call(request).await?.map(Body::new), false)
                }
                Err(reply) => (reply.into_response(grpc), true),
            };
            let format = |format: &Format, (_, headers): (StatusCode, &HeaderMap)| {
                format.text(&FormatContext {
                    request: kept.as_ref().map(FormatRequest::of),
                    response: Some(headers),
                    ..FormatContext::default()
                })
            };
            effects.apply(&mut response, local, grpc, Formatter(&format));
            Ok(response)
        })
    }
}

/// Runs the policies of `chain`.
async fn run(
    chain: &PolicyChain,
    request: Request<Body>,
    effects: &mut ResponseEffects,
) -> Result<Request<Body>, LocalReply> {
    let (mut head, mut body) = request.into_parts();
    let mut cursor = ChainCursor::default();
    let head_view = RequestHead::outside_gateway(&mut head, effects);
    let mut view = PolicyRequest::new(head_view, &mut body);
    loop {
        if chain.run(&mut cursor, &mut view)? == ChainStop::End {
            break;
        }
        if let Some(policy) = chain.waiting(cursor) {
            policy.run(&mut view).await?;
            chain.complete(&mut cursor, &mut view);
        }
    }
    FilledFields::guard_trailers(&mut head, &mut body);
    Ok(Request::from_parts(head, body))
}
