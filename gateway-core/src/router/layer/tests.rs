use std::sync::Mutex;

use http::StatusCode;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tower::{ServiceExt, service_fn};

use super::*;
use crate::access_log::{AccessLog, Entry};
use crate::gateway::{Gateway, Options};
use crate::http::Sanitized;
use crate::http::client_ip::ClientIp;
use crate::plan::{BackendId, Endpoints, Listener, Plan, Port, Route, Rule};
use crate::route::matches::PathMatch;

const PORT: u16 = 80;

/// An access log that records client and status of each entry.
#[derive(Default)]
struct Log(Mutex<Vec<(String, Option<StatusCode>)>>);

impl AccessLog for Log {
    fn write(&self, entry: &Entry) {
        let line = (entry.client.to_string(), entry.status);
        self.0.lock().unwrap().push(line);
    }
}

impl Log {
    fn take(&self) -> Vec<(String, Option<StatusCode>)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A gateway that sends `/api` to a backend that returns path and body of the request.
async fn gateway() -> (Gateway, Arc<Log>) {
    let log = Arc::<Log>::default();
    let gateway = Gateway::new(Options {
        access_log: Some(log.clone()),
        ..Options::default()
    });
    let id = BackendId::service("a", "api", 80);
    let rule = Rule::new(PathMatch::Prefix("/api".to_owned())).to(&id);
    let route = Route::new("a", "api", vec![rule]);
    let listener = Listener::http("a", "edge", PORT, vec![route]);
    let plan: Plan = Plan {
        ports: vec![Port::new(PORT, vec![listener])],
        ..Plan::default()
    };
    gateway.set_endpoints(&Endpoints::from([(id, vec![backend().await.into()])]));
    gateway.apply(&plan).unwrap();
    (gateway, log)
}

async fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(|request: Request<_>| async move {
                let (head, body) = request.into_parts();
                let body = read(body).await;
                let text = format!("backend {} {body}", head.uri.path());
                Ok::<_, Infallible>(Response::new(Body::from(text)))
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

async fn read<B: http_body::Body<Error: std::fmt::Debug>>(body: B) -> String {
    let bytes = body.collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The service inside the layer. It returns the parts of the request that it receives.
async fn inner(request: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let client = head.extensions.get::<ClientIp>().map(|client| client.0);
    let host = head
        .extensions
        .get::<Sanitized>()
        .map(|clean| clean.authority.host().to_owned());
    let upgrade = head.headers.get(http::header::UPGRADE).cloned();
    let body = read(body).await;
    let path = head.uri.path();
    let text = format!("inner {path} {body} {host:?} {client:?} {upgrade:?}");
    Ok(Response::new(text.into()))
}

fn post(path: &str) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("host", "A.test:80")
        .body(Full::from("body"))
        .unwrap()
}

#[tokio::test]
async fn what_a_rule_takes_is_proxied_and_logged_once() {
    let (gateway, log) = gateway().await;
    let service = gateway.layer(PORT).layer(service_fn(inner));
    let mut request = post("/x/../api/1");
    let peer = SocketAddr::from(([192, 0, 2, 1], 5));
    request.extensions_mut().insert(peer);

    let response = service.oneshot(request).await.unwrap();

    assert_eq!(response.status(), 200);
    assert_eq!(read(response.into_body()).await, "backend /api/1 body");
    let told = ("192.0.2.1".to_owned(), Some(StatusCode::OK));
    assert_eq!(log.take(), [told]);
}

#[tokio::test]
async fn the_rest_reaches_the_inner_service_whole_and_clean_and_is_not_logged() {
    let (gateway, log) = gateway().await;
    let service = gateway.layer(PORT).layer(service_fn(inner));
    let mut request = post("/x/../own");
    request.extensions_mut().insert(Arc::new(ConnInfo::from(
        "192.0.2.1:5".parse::<SocketAddr>().unwrap(),
    )));

    let response = service.oneshot(request).await.unwrap();

    let text = r#"inner /own body Some("a.test") Some(192.0.2.1) None"#;
    assert_eq!(read(response.into_body()).await, text);
    assert!(log.take().is_empty());
}

#[tokio::test]
async fn the_inner_service_may_still_switch_protocols() {
    let (gateway, _) = gateway().await;
    let service = gateway.layer(PORT).layer(service_fn(inner));
    let mut request = post("/own");
    *request.method_mut() = http::Method::GET;
    let headers = request.headers_mut();
    headers.insert("connection", "upgrade".parse().unwrap());
    headers.insert("upgrade", "websocket".parse().unwrap());

    let response = service.oneshot(request).await.unwrap();

    let text = read(response.into_body()).await;
    assert!(text.ends_with(r#"Some("websocket")"#), "{text}");
}

#[tokio::test]
async fn what_cannot_be_cleaned_reaches_nobody() {
    let (gateway, log) = gateway().await;
    let service = gateway.layer(PORT).layer(service_fn(inner));
    let mut request = post("/own");
    let another = "b.test".parse().unwrap();
    request.headers_mut().append("host", another);

    let response = service.oneshot(request).await.unwrap();

    assert_eq!(response.status(), 400);
    drop(response);
    assert_eq!(log.take().len(), 1);
}

#[tokio::test]
async fn another_port_of_the_plan_is_not_this_one() {
    let (gateway, _) = gateway().await;
    let service = gateway.layer(81).layer(service_fn(inner));

    let response = service.oneshot(post("/api")).await.unwrap();

    assert!(read(response.into_body()).await.starts_with("inner /api"));
}

#[tokio::test]
async fn the_service_alone_answers_404_and_logs_it() {
    let (gateway, log) = gateway().await;

    let found = gateway.service(PORT).oneshot(post("/api")).await.unwrap();
    let other = gateway.service(PORT).oneshot(post("/own")).await.unwrap();
    let closed = gateway.service(81).oneshot(post("/api")).await.unwrap();

    let statuses = [found.status(), other.status(), closed.status()];
    assert_eq!(statuses.map(|status| status.as_u16()), [200, 404, 404]);
    drop((found, other));
    assert_eq!(log.take().len(), 2);
}

#[tokio::test]
async fn a_connection_is_found_as_the_host_program_says() {
    #[derive(Clone)]
    struct Theirs(SocketAddr);
    let (gateway, log) = gateway().await;
    let service = gateway.service(PORT).with_connection(|extensions| {
        let Theirs(peer) = extensions.get()?;
        Some(ConnInfo::from(*peer).into())
    });
    let mut request = post("/api");
    let peer = SocketAddr::from(([192, 0, 2, 9], 5));
    request.extensions_mut().insert(Theirs(peer));

    drop(service.clone().oneshot(request).await.unwrap());
    drop(service.oneshot(post("/api")).await.unwrap());

    let clients: Vec<String> = log.take().into_iter().map(|(client, _)| client).collect();
    assert_eq!(clients, ["192.0.2.9", "0.0.0.0"]);
}
