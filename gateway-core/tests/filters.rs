//! Tests of filters in a whole gateway: their order, and their effects on requests and responses.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt, service_fn};
use towergate_core::LocalReply;
use towergate_core::filter::{
    Allowed, Cors, HeaderEdit, HeaderEdits, PathEdit, Redirect, RedirectStatus, Rewrite,
};
use towergate_core::gateway::{Gateway, Options};
use towergate_core::plan::{
    Backend as PlanBackend, BackendId, BackendProtocol, Endpoints, Filter, Fraction, Listener,
    Mirror, PathMatch, Plan, Port, Route, Rule,
};
use towergate_core::policy::{
    BuildContext, BuiltPolicy, HeadPolicy, PolicyError, RequestHead, RoutePolicy, Stage,
};

const PORT: u16 = 80;

/// A policy that rejects every request.
#[derive(Clone, Debug, PartialEq)]
struct Closed;

impl RoutePolicy for Closed {
    fn stage(&self) -> Stage {
        Stage::Authorization
    }

    fn build(
        &self,
        _rule: &Rule<Self>,
        _context: &BuildContext<'_>,
    ) -> Result<BuiltPolicy, PolicyError> {
        Ok(BuiltPolicy::head(Self))
    }
}

impl HeadPolicy for Closed {
    fn check(&self, _request: &mut RequestHead<'_>) -> Result<(), LocalReply> {
        Err(LocalReply::new(StatusCode::UNAUTHORIZED, "closed"))
    }
}

/// A backend that records the requests that it receives.
#[derive(Clone, Default)]
struct Backend(Arc<Mutex<Vec<String>>>);

impl Backend {
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
                    async move { Ok::<_, Infallible>(serving.answer(request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        (this, address)
    }

    async fn answer(&self, request: Request<hyper::body::Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let field = |name: &str| {
            let value = head.headers.get(name);
            value.map_or("", |value| value.to_str().unwrap()).to_owned()
        };
        let (host, edited) = (field("host"), field("x-edited"));
        let body = String::from_utf8_lossy(&body);
        let line = format!("{} {} {host} {edited} {body}", head.method, head.uri);
        self.0.lock().unwrap().push(line.trim().to_owned());
        let mut response = Response::new(Full::from("answer"));
        for value in ["*", "https://backend.test"] {
            let name = "access-control-allow-origin";
            response.headers_mut().append(name, value.parse().unwrap());
        }
        response
    }

    fn seen(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Waits until `times` requests are recorded, and returns them.
    async fn asked(&self, times: usize) -> Vec<String> {
        let waiting = async {
            while self.0.lock().unwrap().len() < times {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        self.seen()
    }
}

/// A gateway with one rule for the prefix `/p` and the backends `main` and `copy`.
struct Rig {
    gateway: Gateway,
    main: Backend,
    copy: Backend,
}

fn main_id() -> BackendId {
    BackendId::service("a", "main", 80)
}

impl Rig {
    async fn new(edit: impl FnOnce(&mut Rule<Closed>)) -> Self {
        let gateway = Gateway::new(Options::default());
        let ((main, to_main), (copy, to_copy)) = (Backend::start().await, Backend::start().await);
        let mut rule = Rule::new(PathMatch::Prefix("/p".to_owned())).to(&main_id());
        edit(&mut rule);
        let route = Route::new("a", "route", vec![rule]);
        let listener = Listener::http("a", "edge", PORT, vec![route]);
        let plan = Plan {
            ports: vec![Port::new(PORT, vec![listener])],
            ..Plan::default()
        };
        gateway.set_endpoints(&Endpoints::from([
            (main_id(), vec![to_main.into()]),
            (BackendId::service("a", "copy", 80), vec![to_copy.into()]),
        ]));
        gateway.apply(&plan).unwrap();
        Self {
            gateway,
            main,
            copy,
        }
    }

    async fn ask(&self, request: request::Builder, body: &'static str) -> (u16, HeaderMap, String) {
        let inner = service_fn(|_: Request<Full<Bytes>>| async {
            Ok::<_, Infallible>(Response::new(Full::from("inner")))
        });
        let mut request = request
            .header("host", "a.test")
            .body(Full::from(body))
            .unwrap();
        let peer = SocketAddr::from(([192, 0, 2, 1], 5));
        request.extensions_mut().insert(peer);
        let response = self.gateway.layer(PORT).layer(inner).oneshot(request).await;
        let (head, body) = response.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        (head.status.as_u16(), head.headers, body)
    }
}

fn cors() -> Filter {
    Filter::Cors(Cors {
        origins: vec!["https://www.foo.com".parse().unwrap()],
        methods: Allowed::of(["PUT"]).unwrap(),
        ..Cors::default()
    })
}

fn preflight(origin: &str) -> request::Builder {
    Request::options("/p/x")
        .header("origin", origin)
        .header("access-control-request-method", "PUT")
}

fn origins(headers: &HeaderMap) -> Vec<&str> {
    let all = headers.get_all("access-control-allow-origin").iter();
    all.map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn a_preflight_is_answered_before_any_policy_and_a_refusal_is_marked() {
    let rig = Rig::new(|rule| {
        rule.filters.push(cors());
        rule.policies.push(Closed);
    })
    .await;

    let (status, headers, body) = rig.ask(preflight("https://www.foo.com"), "").await;
    assert_eq!((status, body.as_str()), (200, ""));
    assert_eq!(origins(&headers), ["https://www.foo.com"]);
    assert_eq!(headers["access-control-allow-methods"], "PUT");
    // No `vary` is required, because responses to OPTIONS are not cacheable.
    assert!(!headers.contains_key("vary"));

    let (status, headers, _) = rig.ask(preflight("https://evil.test"), "").await;
    assert_eq!((status, origins(&headers).len()), (200, 0));

    let request = Request::put("/p/x").header("origin", "https://www.foo.com");
    let (status, headers, _) = rig.ask(request, "body").await;
    assert_eq!(status, 401);
    assert_eq!(origins(&headers), ["https://www.foo.com"]);
    assert_eq!(headers["vary"], "Origin");
    assert!(rig.main.seen().is_empty());
}

#[tokio::test]
async fn requests_that_are_no_preflights_are_forwarded_whatever_their_origin() {
    let rig = Rig::new(|rule| rule.filters.push(cors())).await;
    for (request, expected) in [
        (
            Request::put("/p").header("origin", "https://www.foo.com"),
            &["https://www.foo.com"][..],
        ),
        (
            Request::get("/p").header("origin", "https://evil.test"),
            &["*", "https://backend.test"],
        ),
        (Request::get("/p"), &["*", "https://backend.test"]),
        (
            Request::options("/p").header("origin", "https://www.foo.com"),
            &["https://www.foo.com"],
        ),
    ] {
        let (status, headers, body) = rig.ask(request, "").await;

        assert_eq!((status, body.as_str()), (200, "answer"));
        assert_eq!(origins(&headers), expected);
        assert_eq!(headers["vary"], "Origin");
    }
    assert_eq!(rig.main.seen().len(), 4);
}

fn edited(value: &'static str) -> Filter {
    let name = HeaderName::from_static("x-edited");
    let value = HeaderValue::from_static(value);
    Filter::RequestHeaders(HeaderEdits(vec![HeaderEdit::Set(
        name.into(),
        value.into(),
    )]))
}

fn mirror() -> Filter {
    let backend = Arc::new(PlanBackend {
        id: BackendId::service("a", "copy", 80),
        protocol: BackendProtocol::Http1,
        tls: None,
        hosts: Vec::new(),
        fallback: false,
        dynamic: None,
    });
    let fraction = Fraction::ALL;
    Filter::Mirror(Mirror { backend, fraction })
}

fn rewrite(hostname: Option<&str>, path: Option<PathEdit>) -> Filter {
    Filter::Rewrite(Rewrite {
        hostname: hostname.map(str::to_owned),
        path,
    })
}

#[tokio::test]
async fn a_copy_has_what_the_rule_makes_of_the_request() {
    let rig = Rig::new(|rule| {
        let new = PathEdit::Prefix("/new".to_owned());
        let rewrite = rewrite(Some("new.test"), Some(new));
        rule.filters = vec![mirror(), edited("yes"), rewrite, mirror()];
    })
    .await;

    let (status, _, body) = rig.ask(Request::post("/p/x?q=1"), "hello").await;

    assert_eq!((status, body.as_str()), (200, "answer"));
    let seen = "POST /new/x?q=1 new.test yes hello";
    assert_eq!(rig.main.seen(), [seen]);
    assert_eq!(rig.copy.asked(2).await, [seen, seen]);
}

#[tokio::test]
async fn a_request_for_another_protocol_is_not_copied() {
    let rig = Rig::new(|rule| rule.filters.push(mirror())).await;
    let upgrade = Request::get("/p/upgrade")
        .header("connection", "upgrade")
        .header("upgrade", "websocket");

    rig.ask(upgrade, "").await;
    rig.ask(Request::get("/p/plain"), "").await;

    assert_eq!(rig.copy.asked(1).await, ["GET /p/plain a.test"]);
    assert_eq!(rig.main.seen().len(), 2);
}

#[tokio::test]
async fn a_backend_may_rewrite_what_the_rule_does_not_or_otherwise() {
    let full = || Some(PathEdit::Full("/full".to_owned()));
    let prefix = || Some(PathEdit::Prefix("/own".to_owned()));
    for (of_rule, own, expected) in [
        (None, rewrite(None, full()), "GET /full?q a.test"),
        (None, rewrite(None, prefix()), "GET /own/x?q a.test"),
        (None, rewrite(Some("own.test"), None), "GET /p/x?q own.test"),
        (
            Some(rewrite(Some("rule.test"), full())),
            rewrite(None, prefix()),
            "GET /own/x?q rule.test",
        ),
        (
            Some(rewrite(Some("rule.test"), full())),
            rewrite(Some("own.test"), None),
            "GET /full?q own.test",
        ),
    ] {
        let rig = Rig::new(|rule| {
            rule.filters.extend(of_rule);
            rule.backends[0].filters = vec![own];
        })
        .await;

        rig.ask(Request::get("/p/x?q"), "").await;

        assert_eq!(rig.main.seen(), [expected]);
    }
}

#[tokio::test]
async fn redirects_and_mirrors_of_a_backend_are_of_its_share_only() {
    let rig = Rig::new(|rule| {
        let mut other = rule.backends[0].clone();
        other.filters = vec![Filter::Redirect(Redirect {
            scheme: None,
            hostname: Some("other.test".to_owned()),
            port: None,
            path: Some(PathEdit::Prefix("/new".to_owned())),
            status: RedirectStatus::MovedPermanently,
        })];
        rule.backends[0].filters = vec![mirror()];
        rule.backends.push(other);
    })
    .await;
    let (mut redirected, mut answered) = (0, 0);

    for _ in 0..60 {
        match rig.ask(Request::get("/p/x"), "").await {
            (301, headers, _) => {
                assert_eq!(headers["location"], "http://other.test/new/x");
                redirected += 1;
            }
            (status, ..) => {
                assert_eq!(status, 200);
                answered += 1;
            }
        }
    }

    assert!(redirected > 0 && answered > 0);
    assert_eq!(rig.copy.asked(answered).await.len(), answered);
    assert_eq!(rig.main.seen().len(), answered);
}
