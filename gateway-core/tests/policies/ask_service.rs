//! A waiting policy that calls a service for each request.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request};
use towergate_core::plan::{
    Backend, BackendId, BackendProtocol, Destination, Traffic, WeightedBackend,
};
use towergate_core::policy::InternalClient;
use towergate_core::policy::{
    BuildContext, BuiltPolicy, PolicyFuture, PolicyRequest, WaitingPolicy,
};
use towergate_core::{Body, LocalReply};

const ASKED: HeaderName = HeaderName::from_static("x-asked");

/// Allows a request if a service responds to it with 200. The field `x-user` of this response is added to the
/// request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AskService {
    /// The service.
    pub(crate) service: BackendId,
}

impl AskService {
    pub(crate) fn build(&self, context: &BuildContext<'_>) -> BuiltPolicy {
        let backend = WeightedBackend {
            weight: 1,
            filters: Vec::new(),
            destination: Destination::Backend(Arc::new(Backend {
                id: self.service.clone(),
                protocol: BackendProtocol::Http1,
                tls: None,
                hosts: Vec::new(),
                fallback: false,
                dynamic: None,
            })),
        };
        let traffic = Arc::new(Traffic::default());
        let client = context.http_client("ask", &[backend], traffic);
        BuiltPolicy::waiting(Client(client.with_timeout(Duration::from_secs(5))))
    }
}

struct Client(InternalClient);

impl WaitingPolicy for Client {
    fn run<'a>(&'a self, request: &'a mut PolicyRequest<'_>) -> PolicyFuture<'a> {
        Box::pin(async move {
            let denied = || LocalReply::forbidden("denied").with_body("denied");
            let question = Request::get(request.head.uri.path())
                .header("host", "service.test")
                .body(Body::empty())
                .map_err(|_| denied())?;
            let response = self.0.send(question).await.map_err(|_| denied())?;
            if response.status() != 200 {
                return Err(denied());
            }
            if let Some(user) = response.headers().get("x-user") {
                request.head.headers.insert("x-user", user.clone());
            }
            let asked = (ASKED, HeaderValue::from_static("yes"));
            request.add_response_headers(vec![asked]);
            Ok(())
        })
    }
}
