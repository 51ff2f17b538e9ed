use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use kube::client::Body;
use tokio::sync::oneshot;
use towergate_k8s::ObjectKey;

use super::*;

/// An API server that passes each request to the test, which determines when it responds.
struct Server {
    requests: mpsc::UnboundedReceiver<(Method, oneshot::Sender<u16>)>,
    until: watch::Sender<Option<Instant>>,
    due: watch::Sender<Vec<Task>>,
    answers: mpsc::UnboundedReceiver<Answer>,
}

impl Server {
    fn start() -> Self {
        let (told, requests) = mpsc::unbounded_channel::<(Method, oneshot::Sender<u16>)>();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (answer, answered) = oneshot::channel();
            told.send((request.method().clone(), answer)).unwrap();
            async move { Ok::<_, Infallible>(response(answered.await.unwrap())) }
        });
        let (until, leads) = watch::channel(later());
        let (due, answers, _) = Writer::start(
            Client::new(service, "default"),
            "example.com/controller".to_owned(),
            Leads::of(leads),
            Arc::default(),
        );
        Self {
            requests,
            until,
            due,
            answers,
        }
    }

    /// Expects a request with `method`, calls `meanwhile`, then responds with `code`.
    async fn next(&mut self, method: Method, meanwhile: impl FnOnce(&Self), code: u16) {
        let (told, answer) = self.requests.recv().await.unwrap();
        assert_eq!(told, method);
        meanwhile(self);
        // The writer first processes the effect of `meanwhile`.
        tokio::time::sleep(Duration::from_millis(10)).await;
        answer.send(code).unwrap();
    }

    /// Whether no request arrives within 1 second, which exceeds the pauses before the first retries.
    async fn is_quiet(&mut self) -> bool {
        let next = self.requests.recv();
        tokio::time::timeout(Duration::from_secs(1), next)
            .await
            .is_err()
    }
}

fn later() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(86_400))
}

fn response(code: u16) -> Response<Full<Bytes>> {
    let body = match code {
        200 => json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
            "metadata": {"name": "edge", "uid": "1", "resourceVersion": "7", "generation": 1},
        }),
        _ => json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "", "metadata": {},
            "reason": "Other", "code": code,
        }),
    };
    let mut response = Response::new(Full::new(body.to_string().into()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

fn task(print: u64) -> Task {
    Task {
        id: Id::new("GatewayClass", ObjectKey::new("", "edge")).unwrap(),
        version: "v1",
        desired: Some(json!({"conditions": [{
            "type": "Accepted", "status": "True", "reason": "Accepted", "message": print.to_string(),
            "observedGeneration": 1,
        }]})),
        print,
        observed: ObservedObject {
            uid: "1".to_owned(),
            version: "6".to_owned(),
            generation: 1,
            status: None,
        },
    }
}

fn nothing(_: &Server) {}

#[tokio::test]
async fn a_leader_writes_again_what_failed() {
    let mut server = Server::start();
    server.due.send_replace(vec![task(1)]);

    server.next(Method::PATCH, nothing, 500).await;
    server.next(Method::PATCH, nothing, 409).await;
    server.next(Method::GET, nothing, 200).await;
    server.next(Method::PATCH, nothing, 200).await;

    assert_eq!(server.answers.recv().await.unwrap().print, 1);
    assert!(server.is_quiet().await);
}

#[tokio::test]
async fn who_has_lost_the_lease_writes_nothing_again() {
    for code in [409, 500] {
        let mut server = Server::start();
        server.due.send_replace(vec![task(1)]);

        let lose = |server: &Server| {
            server.until.send_replace(None);
        };
        server.next(Method::PATCH, lose, code).await;

        assert!(server.is_quiet().await, "{code}");
        server.until.send_replace(later());
        assert!(server.is_quiet().await, "{code}: the write is not repeated");
    }
    let mut server = Server::start();
    server.due.send_replace(vec![task(1)]);
    server.next(Method::PATCH, nothing, 409).await;
    let lose = |server: &Server| {
        server.until.send_replace(None);
    };
    server.next(Method::GET, lose, 200).await;
    assert!(server.is_quiet().await);
}

#[tokio::test]
async fn a_lease_that_was_renewed_late_loses_no_status() {
    let mut server = Server::start();
    server.due.send_replace(vec![task(1)]);

    let late = |server: &Server| {
        // The leadership expires without a notification.
        let over = Some(Instant::now());
        server.until.send_if_modified(|until| {
            *until = over;
            false
        });
    };
    server.next(Method::PATCH, late, 409).await;
    assert!(server.is_quiet().await);
    server.until.send_replace(later());

    server.next(Method::PATCH, nothing, 200).await;
    assert_eq!(server.answers.recv().await.unwrap().print, 1);
}

#[tokio::test]
async fn what_is_due_no_longer_is_not_written_again() {
    for code in [409, 500] {
        let mut server = Server::start();
        server.due.send_replace(vec![task(1)]);
        let gone = |server: &Server| drop(server.due.send_replace(Vec::new()));
        server.next(Method::PATCH, gone, code).await;
        assert!(server.is_quiet().await, "{code}");
    }
    let mut server = Server::start();
    server.due.send_replace(vec![task(1)]);
    let other = |server: &Server| drop(server.due.send_replace(vec![task(2)]));
    server.next(Method::PATCH, other, 409).await;
    server.next(Method::PATCH, nothing, 200).await;
    assert_eq!(server.answers.recv().await.unwrap().print, 2);
    assert!(server.is_quiet().await);
}
