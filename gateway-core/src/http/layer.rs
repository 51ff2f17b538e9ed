//! Puts [`sanitize::request`] in front of any HTTP service.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::Either;
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::sanitize;
use crate::plan::ListenerSettings;

/// Cleans every request, or answers it in place of the service.
///
/// The service finds a [`Sanitized`](super::Sanitized) in the extensions of the request. Upgrades are
/// left to the service: it grants one with [`Upgrade::restore`](super::Upgrade::restore) when it sends
/// the request on.
///
/// ```
/// use axum::{Extension, Router, body::Body, routing::get};
/// use http::Request;
/// use tower::ServiceExt;
/// use towergate_core::http::{Sanitized, SanitizeLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let app = Router::new()
///     .route("/b", get(|Extension(clean): Extension<Sanitized>| async move {
///         clean.authority.host().to_owned()
///     }));
/// let app = tower::Layer::layer(&SanitizeLayer::default(), app);
///
/// let request = Request::get("/a/../b").header("host", "A.test:80").body(Body::empty()).unwrap();
/// let response = app.clone().oneshot(request).await.unwrap();
/// assert_eq!(response.status(), 200);
///
/// let request = Request::get("/b").body(Body::empty()).unwrap();
/// let response = app.oneshot(request).await.unwrap();
/// assert_eq!(response.status(), 400);
/// # }
/// ```
///
/// It has to stand in front of axum's `Router`, not inside, since axum routes before its layers run.
#[derive(Clone, Debug, Default)]
pub struct SanitizeLayer {
    settings: Arc<ListenerSettings>,
    tls: bool,
}

impl SanitizeLayer {
    /// A layer with these settings.
    pub fn new(settings: Arc<ListenerSettings>) -> Self {
        Self {
            settings,
            tls: false,
        }
    }

    /// Whether the requests come over TLS, so that `https` URLs as request targets are right.
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }
}

impl<S> Layer<S> for SanitizeLayer {
    type Service = SanitizeService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SanitizeService {
            inner,
            layer: self.clone(),
        }
    }
}

/// What [`SanitizeLayer`] makes of a service.
#[derive(Clone, Debug)]
pub struct SanitizeService<S> {
    inner: S,
    layer: SanitizeLayer,
}

impl<S, B, R> Service<Request<B>> for SanitizeService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Bytes>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        let (mut head, body) = req.into_parts();
        match sanitize::request(&mut head, &self.layer.settings, self.layer.tls) {
            Ok(sanitized) => {
                head.extensions.insert(sanitized);
                Either::Left(self.inner.call(Request::from_parts(head, body)))
            }
            Err(rejected) => Either::Right(ready(Ok(rejected.into_response()))),
        }
    }
}
