//! Layer that applies [`sanitize::request()`] to every request.

use std::sync::Arc;

use http::{StatusCode, request};
use tower_layer::Layer;

use super::{Sanitized, sanitize};
use crate::LocalReply;
use crate::http::settings::ListenerSettings;
use crate::policy::{HeadPolicy, HeadPolicyService, RequestHead};

/// Sanitizes every request: passes it to the inner service or returns a local reply.
///
/// The layer inserts a [`Sanitized`](super::Sanitized) into the extensions of the request. It forwards a
/// request for an upgrade to an allowed protocol. It removes the upgrade from a request for `h2c` or an
/// ignored protocol, and rejects a request for any other upgrade with 403.
///
/// ```
/// use axum::{Extension, Router, body::Body, routing::get};
/// use http::Request;
/// use tower::ServiceExt;
/// use towergate_core::http::{Sanitized, SanitizeLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let app = Router::new()
///     .route("/b", get(|Extension(clean): Extension<Sanitized>| async move {
///         clean.authority.host().to_owned()
///     }));
/// let app = tower::Layer::layer(&SanitizeLayer::default(), app);
///
/// let request = Request::get("/a/../b").header("host", "A.test:80").body(Body::empty())?;
/// let response = app.clone().oneshot(request).await?;
/// assert_eq!(response.status(), 200);
///
/// let request = Request::get("/b").body(Body::empty())?;
/// let response = app.oneshot(request).await?;
/// assert_eq!(response.status(), 400);
/// # Ok(())
/// # }
/// ```
///
/// Wrap axum's `Router` in this layer. `Router::layer` does not suffice: axum routes before its layers run.
#[derive(Clone, Debug)]
pub struct SanitizeLayer {
    settings: Arc<ListenerSettings>,
    upgrades: Arc<[String]>,
    tls: bool,
}

impl Default for SanitizeLayer {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl SanitizeLayer {
    /// Creates a layer for requests without TLS. It allows upgrades to `websocket`.
    pub fn new(settings: Arc<ListenerSettings>) -> Self {
        Self {
            settings,
            upgrades: Arc::new(["websocket".to_owned()]),
            tls: false,
        }
    }

    /// Sets the allowed upgrade protocols. Case is ignored. Default: `websocket`.
    pub fn upgrades(mut self, protocols: impl IntoIterator<Item = String>) -> Self {
        self.upgrades = protocols.into_iter().collect();
        self
    }

    /// Sets whether requests arrive over TLS. If false, `https` request targets are rejected. Default: false.
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    fn apply(&self, head: &mut request::Parts) -> Result<Sanitized, LocalReply> {
        let sanitized = sanitize::request(head, &self.settings, self.tls)?;
        if let Some(upgrade) = &sanitized.upgrade {
            if !upgrade.is_one_of(&self.upgrades) {
                return Err(LocalReply::new(StatusCode::FORBIDDEN, "upgrade_failed").closing());
            }
            upgrade.restore(&mut head.headers);
        }
        Ok(sanitized)
    }
}

impl<S> Layer<S> for SanitizeLayer {
    type Service = SanitizeService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        HeadPolicyService::new(self.clone(), inner)
    }
}

/// Service of [`SanitizeLayer`].
pub type SanitizeService<S> = HeadPolicyService<S, SanitizeLayer>;

impl HeadPolicy for SanitizeLayer {
    fn check(&self, request: &mut RequestHead<'_>) -> Result<(), LocalReply> {
        let sanitized = self.apply(request.head)?;
        request.head.extensions.insert(sanitized);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::header::{CONNECTION, UPGRADE};
    use http::{Request, Response};
    use tower::{ServiceExt, service_fn};

    use super::*;

    /// Returns the `Upgrade` value that the inner service receives, or the status of the local reply.
    async fn switch_to(layer: SanitizeLayer, protocol: &str) -> Result<String, StatusCode> {
        let inner = service_fn(|request: Request<()>| async move {
            let upgrade = request.headers().get(UPGRADE).cloned();
            let text = upgrade.map_or(Bytes::new(), |value| {
                Bytes::copy_from_slice(value.as_bytes())
            });
            Ok::<_, Infallible>(Response::new(text))
        });
        let request = Request::get("/")
            .header("host", "a.test")
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, protocol)
            .body(())
            .unwrap();

        let response = layer.layer(inner).oneshot(request).await.unwrap();

        if response.status() == StatusCode::OK {
            Ok(String::from_utf8(response.into_body().to_vec()).unwrap())
        } else {
            Err(response.status())
        }
    }

    #[tokio::test]
    async fn only_allowed_upgrades_reach_the_service() {
        let layer = SanitizeLayer::default();
        let other = layer.clone().upgrades(["spdy/3.1".to_owned()]);

        assert_eq!(
            switch_to(layer.clone(), "WebSocket").await,
            Ok("WebSocket".to_owned())
        );
        assert_eq!(switch_to(layer.clone(), "h2c").await, Ok(String::new()));
        assert_eq!(switch_to(layer, "foo").await, Err(StatusCode::FORBIDDEN));
        assert_eq!(
            switch_to(other.clone(), "SPDY/3.1").await,
            Ok("SPDY/3.1".to_owned())
        );
        assert_eq!(
            switch_to(other, "websocket").await,
            Err(StatusCode::FORBIDDEN)
        );
    }
}
