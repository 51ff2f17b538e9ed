//! Tests of policies in a whole gateway: a waiting policy, a body policy, and a head policy that changes the
//! route. Each policy consists of one file, one variant of [`TestPolicy`] and one line of
//! [`TestPolicy::stage`].

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod ask_service;
mod choose_route;
mod upper_case;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tower::ServiceExt;
use towergate_core::filter::Cors;
use towergate_core::gateway::{Gateway, Options};
use towergate_core::plan::{
    BackendId, Endpoints, Filter, Listener, PathMatch, Plan, Port, Route, Rule,
};
use towergate_core::policy::{BuildContext, BuiltPolicy, PolicyError, RoutePolicy, Stage};

use ask_service::AskService;
use choose_route::ChooseRoute;
use upper_case::UpperCase;

const PORT: u16 = 80;

/// The policies of these tests.
#[derive(Clone, Debug, PartialEq)]
enum TestPolicy {
    AskService(AskService),
    ChooseRoute(ChooseRoute),
    UpperCase(UpperCase),
    /// A policy that cannot be built.
    Broken,
}

impl RoutePolicy for TestPolicy {
    fn stage(&self) -> Stage {
        match self {
            Self::AskService(_) => Stage::ExternalAuth,
            Self::ChooseRoute(_) => Stage::Jwt,
            Self::Broken => Stage::Authorization,
            Self::UpperCase(_) => Stage::Compression,
        }
    }

    fn build(
        &self,
        _rule: &Rule<Self>,
        context: &BuildContext<'_>,
    ) -> Result<BuiltPolicy, PolicyError> {
        match self {
            Self::AskService(policy) => Ok(policy.build(context)),
            Self::ChooseRoute(policy) => Ok(BuiltPolicy::head(policy.clone())),
            Self::UpperCase(policy) => Ok(BuiltPolicy::body(policy.clone())),
            Self::Broken => Err(PolicyError::new("no key")),
        }
    }
}

/// An HTTP service on loopback that records its requests. It rejects `/denied` with 403.
#[derive(Clone, Default)]
struct TestService(Arc<Mutex<Vec<String>>>);

impl TestService {
    async fn start() -> (Self, SocketAddr) {
        let this = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = this.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                let service = hyper::service::service_fn(move |request| {
                    let serving = serving.clone();
                    async move { Ok::<_, Infallible>(serving.respond(request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        (this, address)
    }

    async fn respond(&self, request: Request<hyper::body::Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        let user = head.headers.get("x-user");
        let user = user.map_or("", |user| user.to_str().unwrap());
        let line = format!("{} {user} {body}", head.uri.path());
        self.0.lock().unwrap().push(line.trim().to_owned());
        let mut response = Response::new(Full::from("response"));
        if head.uri.path() == "/denied" {
            *response.status_mut() = StatusCode::FORBIDDEN;
        }
        response
            .headers_mut()
            .insert("x-user", "anna".parse().unwrap());
        response
    }

    fn requests(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn backend() -> BackendId {
    BackendId::service("a", "backend", 80)
}

fn authorization() -> BackendId {
    BackendId::service("a", "authorization", 80)
}

/// A gateway, its backend and an authorization service.
struct Rig {
    gateway: Gateway,
    backend: TestService,
    authorization: TestService,
}

impl Rig {
    /// A gateway with these rules.
    async fn new(rules: Vec<Rule<TestPolicy>>) -> Self {
        let gateway = Gateway::new(Options::default());
        let (to_backend, to_service) = (TestService::start().await, TestService::start().await);
        let route = Route::new("a", "route", rules);
        let listener = Listener::http("a", "edge", PORT, vec![route]);
        gateway.set_endpoints(&Endpoints::from([
            (backend(), vec![to_backend.1.into()]),
            (authorization(), vec![to_service.1.into()]),
        ]));
        let plan = Plan {
            ports: vec![Port::new(PORT, vec![listener])],
            ..Plan::default()
        };
        gateway.apply(&plan).unwrap();
        Self {
            gateway,
            backend: to_backend.0,
            authorization: to_service.0,
        }
    }

    /// Sends a request with a body. Returns status, header fields and body of the response.
    async fn send(
        &self,
        request: http::request::Builder,
        body: &'static str,
    ) -> (u16, HeaderMap, String) {
        let mut request = request
            .header("host", "a.test")
            .body(Full::from(body))
            .unwrap();
        let peer = SocketAddr::from(([192, 0, 2, 1], 5));
        request.extensions_mut().insert(peer);
        let response = self.gateway.service(PORT).oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        (head.status.as_u16(), head.headers, body)
    }
}

fn rule(path: &str, policies: Vec<TestPolicy>) -> Rule<TestPolicy> {
    let mut rule = Rule::new(PathMatch::Prefix(path.to_owned())).to(&backend());
    rule.policies = policies;
    rule
}

fn ask_service() -> TestPolicy {
    TestPolicy::AskService(AskService {
        service: authorization(),
    })
}

#[tokio::test]
async fn a_policy_that_waits_calls_a_service_and_edits_the_request() {
    let rig = Rig::new(vec![rule("/", vec![ask_service()])]).await;

    let (status, headers, body) = rig.send(Request::post("/a"), "text").await;

    assert_eq!((status, body.as_str()), (200, "response"));
    assert_eq!(headers["x-asked"], "yes");
    assert_eq!(rig.authorization.requests(), ["/a"]);
    assert_eq!(rig.backend.requests(), ["/a anna text"]);
}

#[tokio::test]
async fn a_policy_that_waits_replies_in_place_of_the_backend() {
    let rig = Rig::new(vec![rule("/", vec![ask_service()])]).await;

    let (status, ..) = rig.send(Request::get("/denied"), "").await;
    let grpc = Request::post("/denied").header("content-type", "application/grpc");
    let (to_grpc, headers, _) = rig.send(grpc, "").await;

    assert_eq!(status, 403);
    assert_eq!(to_grpc, 200);
    assert_eq!(headers["grpc-status"], "7");
    assert!(rig.backend.requests().is_empty());
}

#[tokio::test]
async fn a_service_without_endpoints_rejects_requests() {
    let policy = TestPolicy::AskService(AskService {
        service: BackendId::service("a", "nowhere", 80),
    });
    let rig = Rig::new(vec![rule("/", vec![policy])]).await;

    let (status, ..) = rig.send(Request::get("/a"), "").await;

    assert_eq!(status, 403);
    assert!(rig.backend.requests().is_empty());
}

#[tokio::test]
async fn a_policy_over_bodies_changes_both_bodies() {
    let policies = vec![TestPolicy::UpperCase(UpperCase), ask_service()];
    let rig = Rig::new(vec![rule("/", policies)]).await;

    let (status, headers, body) = rig.send(Request::post("/a"), "text").await;

    assert_eq!((status, body.as_str()), (200, "RESPONSE"));
    assert_eq!(headers["content-length"], "8");
    assert_eq!(rig.backend.requests(), ["/a anna TEXT"]);
}

#[tokio::test]
async fn response_halves_see_local_replies_of_later_policies_only() {
    let mut rule = rule("/", vec![TestPolicy::UpperCase(UpperCase), ask_service()]);
    rule.filters.push(Filter::Cors(Cors {
        origins: vec!["https://a.test".parse().unwrap()],
        ..Cors::default()
    }));
    let rig = Rig::new(vec![rule]).await;

    let request = Request::get("/denied").header("origin", "https://a.test");
    let (status, headers, body) = rig.send(request, "").await;

    assert_eq!((status, body.as_str()), (403, "denied"));
    assert_eq!(headers["access-control-allow-origin"], "https://a.test");
}

#[tokio::test]
async fn a_policy_may_have_the_route_matched_again() {
    let choose = TestPolicy::ChooseRoute(ChooseRoute {
        path: "/new".to_owned(),
    });
    let rig = Rig::new(vec![
        rule("/old", vec![choose.clone(), TestPolicy::Broken]),
        rule("/older", vec![choose.clone()]),
        rule(
            "/new",
            vec![ask_service(), choose, TestPolicy::UpperCase(UpperCase)],
        ),
    ])
    .await;

    let (broken, ..) = rig.send(Request::get("/old"), "").await;
    let (status, _, body) = rig.send(Request::get("/older"), "").await;

    assert_eq!(broken, 500, "a policy that cannot be built fails closed");
    // Of the new rule's policies, only those of later stages have run.
    assert_eq!((status, body.as_str()), (200, "RESPONSE"));
    assert_eq!(rig.backend.requests(), ["/new"]);
    assert!(rig.authorization.requests().is_empty());
}

#[tokio::test]
async fn a_policy_that_cannot_be_built_costs_its_own_rule() {
    let rig = Rig::new(vec![
        rule("/broken", vec![TestPolicy::Broken]),
        rule("/", Vec::new()),
    ])
    .await;

    let (broken, ..) = rig.send(Request::get("/broken"), "").await;
    let (other, ..) = rig.send(Request::get("/other"), "").await;

    assert_eq!((broken, other), (500, 200));
}

#[tokio::test]
async fn each_form_is_a_layer_for_other_servers() {
    use tower::{Layer, service_fn};
    use towergate_core::policy::{HeadPolicyLayer, PolicyLayer};

    let inner = service_fn(|request: Request<towergate_core::Body>| async {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Ok::<_, Infallible>(Response::new(Full::from(body)))
    });
    let body = PolicyLayer::new(BuiltPolicy::body(UpperCase));
    let choose = ChooseRoute {
        path: "/x".to_owned(),
    };
    let service = HeadPolicyLayer::new(choose).layer(body.layer(inner));

    let request = Request::post("/")
        .body(Full::<Bytes>::from("text"))
        .unwrap();
    let response = service.oneshot(request).await.unwrap();

    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "TEXT");
}
