//! Puts [`Cors`] around any HTTP service.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::{Either, MapOk, TryFutureExt};
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::Cors;
use super::cors::{Decision, Marks};

/// Answers preflights, and marks the responses of the service.
///
/// ```
/// use axum::{Router, body::Body, routing::get};
/// use http::Request;
/// use tower::ServiceExt;
/// use towergate_core::filter::{Cors, CorsLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cors = Cors {
///     origins: vec!["https://shop.example.com".parse()?],
///     ..Cors::default()
/// };
/// let app: Router = Router::new()
///     .route("/x", get(|| async { "hello" }))
///     .layer(CorsLayer::new(cors));
///
/// let request = Request::get("/x").header("origin", "https://shop.example.com");
/// let response = app.oneshot(request.body(Body::empty())?).await?;
/// assert_eq!(
///     response.headers()["access-control-allow-origin"],
///     "https://shop.example.com"
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CorsLayer(Arc<Cors>);

impl CorsLayer {
    /// A layer for `cors`, which all its services share.
    pub fn new(cors: Cors) -> Self {
        Self(Arc::new(cors))
    }
}

impl<S> Layer<S> for CorsLayer {
    type Service = CorsService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CorsService {
            cors: self.0.clone(),
            inner,
        }
    }
}

/// What [`CorsLayer`] makes of a service.
#[derive(Clone, Debug)]
pub struct CorsService<S> {
    cors: Arc<Cors>,
    inner: S,
}

/// Marks a response.
type Mark<R> = Box<dyn FnOnce(Response<R>) -> Response<R> + Send>;

impl<S, B, R> Service<Request<B>> for CorsService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Bytes>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<MapOk<S::Future, Mark<R>>, Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Decision { preflight, marks } = self.cors.decide(request.method(), request.headers());
        if preflight {
            let response = marked(marks, Response::new(R::from(Bytes::new())));
            return Either::Right(ready(Ok(response)));
        }
        let mark: Mark<R> = Box::new(move |response| marked(marks, response));
        Either::Left(self.inner.call(request).map_ok(mark))
    }
}

fn marked<R>(marks: Marks, mut response: Response<R>) -> Response<R> {
    marks.apply(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::Method;
    use tower::{ServiceExt, service_fn};

    use super::*;

    #[tokio::test]
    async fn preflights_do_not_reach_the_service() {
        let inner = service_fn(|_: Request<()>| async {
            Ok::<_, Infallible>(Response::new(Bytes::from_static(b"inner")))
        });
        let layer = CorsLayer::new(Cors {
            origins: vec!["https://a.test".parse().unwrap()],
            ..Cors::default()
        });
        for (method, origin, body, allowed) in [
            (Method::OPTIONS, "https://a.test", "", true),
            (Method::OPTIONS, "https://b.test", "", false),
            (Method::GET, "https://a.test", "inner", true),
            (Method::GET, "https://b.test", "inner", false),
        ] {
            let request = Request::builder()
                .method(&method)
                .header("origin", origin)
                .header("access-control-request-method", "GET");

            let response = layer.layer(inner).oneshot(request.body(()).unwrap()).await;

            let response = response.unwrap();
            let told = response.headers().get("access-control-allow-origin");
            assert_eq!(response.status(), 200, "{method} {origin}");
            assert_eq!(response.body(), body, "{method} {origin}");
            assert_eq!(told.is_some(), allowed, "{method} {origin}");
        }
    }
}
