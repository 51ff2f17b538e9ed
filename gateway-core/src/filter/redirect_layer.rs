//! Layer that applies a [`Redirect`] in front of any HTTP service.

use std::sync::Arc;

use http::{StatusCode, request};
use tower_layer::Layer;

use super::{FilterError, Redirect, RedirectFacts};
use crate::LocalReply;
use crate::http::host::Authority;
use crate::http::sanitize::Sanitized;
use crate::policy::{HeadPolicy, HeadPolicyService, RequestHead};

/// Redirects requests whose path is below a prefix, and passes all other requests to the inner service.
///
/// The authority of a request is that which a [`SanitizeLayer`](crate::http::SanitizeLayer) in front has
/// determined. Without a `SanitizeLayer`, the authority is read from `:authority` or `Host`.
///
/// ```
/// use axum::{Router, body::Body, routing::get};
/// use http::Request;
/// use tower::ServiceExt;
/// use towergate_core::filter::{Redirect, RedirectLayer, RedirectStatus, WebScheme};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let to_https = Redirect {
///     scheme: Some(WebScheme::Https),
///     hostname: None,
///     port: None,
///     path: None,
///     status: RedirectStatus::MovedPermanently,
/// };
/// let app: Router = Router::new()
///     .route("/x", get(|| async { "never seen" }))
///     .layer(RedirectLayer::new(to_https));
///
/// let request = Request::get("/x?q=1").header("host", "a.test").body(Body::empty())?;
/// let response = app.oneshot(request).await?;
/// assert_eq!(response.status(), 301);
/// assert_eq!(response.headers()["location"], "https://a.test/x?q=1");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RedirectLayer {
    redirect: Arc<Redirect>,
    prefix: Arc<str>,
    scheme: &'static str,
    port: u16,
}

impl RedirectLayer {
    /// Creates a layer that redirects all requests. The listener is assumed to have the scheme `http` and the
    /// port 80.
    pub fn new(redirect: Redirect) -> Self {
        Self {
            redirect: Arc::new(redirect),
            prefix: "/".into(),
            scheme: "http",
            port: 80,
        }
    }

    /// Redirects only requests whose path is `prefix` or below it. The prefix consists of whole path
    /// elements. Default: `/`.
    pub fn below(mut self, prefix: &str) -> Self {
        self.prefix = prefix.trim_end_matches('/').into();
        self
    }

    /// Sets the scheme of requests to `https`. If the port is 80, it is changed to 443; [`port`](Self::port)
    /// sets any other port.
    pub fn https(mut self) -> Self {
        self.scheme = "https";
        if self.port == 80 {
            self.port = 443;
        }
        self
    }

    /// Sets the port that clients connect to. Default: 80.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Whether the path is the prefix or below it.
    fn takes(&self, path: &str) -> bool {
        let prefix = self.prefix.trim_end_matches('/');
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn reply(&self, head: &request::Parts) -> LocalReply {
        match self.location(head) {
            Ok((status, location)) => LocalReply::redirect(status, location, "direct_response"),
            Err(status) => LocalReply::new(status, "direct_response"),
        }
    }

    fn location(
        &self,
        head: &request::Parts,
    ) -> Result<(StatusCode, http::HeaderValue), StatusCode> {
        let authority = match head.extensions.get::<Sanitized>() {
            Some(sanitized) => sanitized.authority.clone(),
            None => Authority::of(&head.uri, &head.headers).map_err(|_| StatusCode::BAD_REQUEST)?,
        };
        let facts = RedirectFacts {
            scheme: self.scheme,
            authority: &authority,
            listener_port: self.port,
            path: head.uri.path_and_query().ok_or(StatusCode::BAD_REQUEST)?,
            matched_prefix: Some(&self.prefix),
        };
        self.redirect.location(facts).map_err(|error| match error {
            FilterError::NoPrefix | FilterError::InvalidText => StatusCode::INTERNAL_SERVER_ERROR,
        })
    }
}

impl<S> Layer<S> for RedirectLayer {
    type Service = RedirectService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        HeadPolicyService::new(self.clone(), inner)
    }
}

/// Service of [`RedirectLayer`].
pub type RedirectService<S> = HeadPolicyService<S, RedirectLayer>;

impl HeadPolicy for RedirectLayer {
    fn check(&self, request: &mut RequestHead<'_>) -> Result<(), LocalReply> {
        match self.takes(request.head.uri.path()) {
            true => Err(self.reply(request.head)),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::header::{HOST, LOCATION};
    use http::{HeaderValue, Request, Response};
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::filter::{PathEdit, RedirectStatus, WebScheme};

    async fn ask(
        layer: RedirectLayer,
        host: &str,
        path: &str,
    ) -> (StatusCode, Option<HeaderValue>) {
        let inner =
            service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(Bytes::new())) });
        let request = Request::get(path).header(HOST, host).body(()).unwrap();

        let response = layer.layer(inner).oneshot(request).await.unwrap();

        (response.status(), response.headers().get(LOCATION).cloned())
    }

    #[tokio::test]
    async fn only_what_is_below_the_prefix_is_redirected() {
        let layer = RedirectLayer::new(Redirect {
            scheme: None,
            hostname: None,
            port: None,
            path: Some(PathEdit::Prefix("/new".to_owned())),
            status: RedirectStatus::PermanentRedirect,
        });
        let layer = layer.below("/old/").https().port(8443);

        for (path, location) in [
            ("/old/x?q", Some("https://a.test:8443/new/x?q")),
            ("/old", Some("https://a.test:8443/new")),
            ("/older", None),
            ("/", None),
        ] {
            let (status, got) = ask(layer.clone(), "a.test", path).await;

            let expected = if location.is_some() { 308 } else { 200 };
            assert_eq!(status, expected, "{path}");
            assert_eq!(
                got.as_ref().map(|v| v.to_str().unwrap()),
                location,
                "{path}"
            );
        }
    }

    #[tokio::test]
    async fn a_target_with_an_authority_says_whom_a_request_is_for() {
        let to_https = Redirect {
            scheme: Some(WebScheme::Https),
            hostname: None,
            port: None,
            path: None,
            status: RedirectStatus::MovedPermanently,
        };

        let (_, location) = ask(RedirectLayer::new(to_https), "b.test", "http://a.test/x").await;

        assert_eq!(location.unwrap(), "https://a.test/x");
    }

    #[tokio::test]
    async fn a_bad_host_or_redirect_leads_nowhere() {
        let redirect = |hostname: Option<&str>| Redirect {
            scheme: Some(WebScheme::Https),
            hostname: hostname.map(str::to_owned),
            port: None,
            path: None,
            status: RedirectStatus::MovedPermanently,
        };

        assert_eq!(
            ask(RedirectLayer::new(redirect(None)), "u@evil.test", "/").await,
            (StatusCode::BAD_REQUEST, None)
        );
        assert_eq!(
            ask(
                RedirectLayer::new(redirect(Some("b.test/x"))),
                "a.test",
                "/"
            )
            .await,
            (StatusCode::INTERNAL_SERVER_ERROR, None)
        );
    }
}
