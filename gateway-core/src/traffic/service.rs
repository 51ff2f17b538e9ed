//! A [`Forwarder`] as a tower service, for embedding.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{Request, Response, StatusCode, request};
use tower_service::Service;

use super::{ForwardContext, Forwarder};
use crate::Body;
use crate::body::BoxError;
use crate::error::Error;
use crate::http::client_ip::ClientIp;
use crate::http::grpc::is_grpc;
use crate::http::{Authority, Sanitized};
use crate::observer::Observer;
use crate::plan::Filter;
use crate::policy::FilledFields;

/// Forwards every request and applies the filters of the picked backendRef. If no backend returns a response,
/// the reply is that of [`Error::reply`].
///
/// Redirects and prefix rewrites depend on the listener and on the match of a rule, which a service does not
/// have: therefore a request to a backendRef with one of these filters is answered with 500.
///
/// The client address is the [`ClientIp`] in the request's extensions. Upgrades are not supported.
///
/// ```
/// use std::sync::Arc;
///
/// use axum::Router;
/// use tower::ServiceExt;
/// use towergate_core::Body;
/// use towergate_core::plan::Traffic;
/// use towergate_core::policy::Live;
/// use towergate_core::traffic::{ForwardService, Forwarder};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let provider = towergate_tls::default_provider();
/// let traffic = Arc::new(Traffic::default());
/// let forwarder = Forwarder::new("a rule", traffic, &[], &Live::default(), &provider);
/// let app: Router = Router::new().fallback_service(ForwardService::new(Arc::new(forwarder)));
///
/// let request = http::Request::new(axum::body::Body::empty());
/// let response = app.oneshot(request).await.unwrap();
///
/// assert_eq!(response.status(), 500, "the rule has no backend");
/// # }
/// ```
#[derive(Clone)]
pub struct ForwardService {
    forwarder: Arc<Forwarder>,
    observer: Arc<dyn Observer>,
}

impl ForwardService {
    /// Creates a service without an observer.
    pub fn new(forwarder: Arc<Forwarder>) -> Self {
        Self {
            forwarder,
            observer: Arc::new(()),
        }
    }

    /// Reports events to `observer`.
    pub fn observed(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    async fn forward(self, request: Request<Body>) -> Result<Response<Body>, Error> {
        let client = request.extensions().get::<ClientIp>();
        let context = ForwardContext {
            client: client.map(|client| client.0),
            observer: &self.observer,
            envoy_headers: false,
            preserve_header_case: false,
            upgrade: None,
            connection: None,
        };
        let (mut head, body) = request.into_parts();
        let picked = self.forwarder.pick(context.client, &head, None)?;
        for filter in picked.filters() {
            apply_filter(filter, &mut head)?;
        }
        let mut body = match picked.mirrors().is_empty() {
            true => body,
            false => picked.mirrors().send(&context, &head, body),
        };
        for filter in picked.filters() {
            if let Filter::Credential(credential) = filter {
                let value = credential.secret.expose();
                let (name, overwrite) = (&credential.header, credential.overwrite);
                FilledFields::set(&mut head, name, value, overwrite);
            }
        }
        FilledFields::guard_trailers(&mut head, &mut body);
        let request = Request::from_parts(head, body);
        let forwarded = picked.forward(&context, request).await?;
        let mut response = forwarded.response;
        if let Some(cookie) = forwarded.set_cookie {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        for filter in picked.filters() {
            if let Filter::ResponseHeaders(edits) = filter {
                edits.apply(response.headers_mut());
            }
        }
        Ok(response)
    }
}

/// Applies a filter of a backendRef to a request; a filter that is not supported fails closed.
fn apply_filter(filter: &Filter, head: &mut request::Parts) -> Result<(), Error> {
    let failed = Error::Failed(StatusCode::INTERNAL_SERVER_ERROR);
    match filter {
        Filter::RequestHeaders(edits) => edits.apply_to_request(head),
        Filter::Rewrite(rewrite) => {
            let rewritten = authority_of(head)
                .and_then(|authority| rewrite.apply(head, &authority, None, false).ok());
            return rewritten.ok_or(failed);
        }
        Filter::RegexRewrite(rewrite) => {
            let rewritten = authority_of(head)
                .and_then(|authority| rewrite.apply(head, &authority, false).ok());
            return rewritten.ok_or(failed);
        }
        Filter::Redirect(_) | Filter::Cors(_) | Filter::DirectResponse(_) => return Err(failed),
        // These filters do not edit the request here: response fields are edited when the response has
        // arrived, the caller sends the mirrors, and credentials are added after the mirrors.
        Filter::ResponseHeaders(_) | Filter::Mirror(_) | Filter::Credential(_) => {}
    }
    Ok(())
}

/// The authority of a request. If the sanitizer has processed the head, the result is the authority that the
/// sanitizer determined.
fn authority_of(head: &request::Parts) -> Option<Authority> {
    match head.extensions.get::<Sanitized>() {
        Some(sanitized) => Some(sanitized.authority.clone()),
        None => Authority::of(&head.uri, &head.headers).ok(),
    }
}

impl<B> Service<Request<B>> for ForwardService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    /// The service is always ready, because only the circuit breaker limits requests.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let this = self.clone();
        let request = request.map(|body| match body.is_end_stream() {
            true => Body::empty(),
            false => Body::new(body),
        });
        Box::pin(async move {
            let grpc = is_grpc(request.headers());
            let result = this.forward(request).await;
            Ok(result.unwrap_or_else(|error| error.reply().into_response(grpc)))
        })
    }
}

impl fmt::Debug for ForwardService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardService")
            .field("forwarder", &self.forwarder)
            .finish_non_exhaustive()
    }
}
