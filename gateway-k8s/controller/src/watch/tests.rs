//! Tests of the watch of a kind with a faulty API server.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::channel::{Channel, Sender};
use http_body_util::{Either, Full};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use towergate_k8s::ObjectKey;

use super::*;
use crate::kinds;
use crate::object_cache::ObjectCache;

/// Time limit for the cache to equal the state of the server.
const SOON: Duration = Duration::from_secs(5);

/// A fault of the server's response to a watch.
#[derive(Debug)]
enum Fault {
    /// The response ends at once.
    Closes,
    /// The response contains an `ERROR` event with code 410: the resource version has expired.
    Gone,
    /// The response contains an event that cannot be decoded.
    Rubbish,
}

#[derive(Default)]
struct State {
    namespaces: Vec<&'static str>,
    /// Number of next requests that receive 500.
    broken: u32,
    faults: VecDeque<Fault>,
    /// Open watches.
    open: Vec<Sender<Bytes, Infallible>>,
    lists: u32,
}

#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

impl Server {
    fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(&request)) }
        });
        kube::Client::new(service, "default")
    }

    fn answer(
        &self,
        request: &Request<Body>,
    ) -> Response<Either<Channel<Bytes, Infallible>, Full<Bytes>>> {
        let watches = request.uri().query().unwrap_or("").contains("watch=true");
        let mut state = self.0.lock().unwrap();
        let whole = |code: u16, body: Value| {
            let body = Full::new(Bytes::from(body.to_string()));
            let mut response = Response::new(Either::Right(body));
            *response.status_mut() = code.try_into().unwrap();
            response
        };
        if state.broken > 0 {
            state.broken -= 1;
            return whole(500, status(500));
        }
        if !watches {
            state.lists += 1;
            let items: Vec<_> = state
                .namespaces
                .iter()
                .map(|name| namespace(name))
                .collect();
            let list = json!({
                "kind": "NamespaceList", "apiVersion": "v1",
                "metadata": {"resourceVersion": "9"}, "items": items,
            });
            return whole(200, list);
        }
        let line = match state.faults.pop_front() {
            None => {
                let (sender, body) = Channel::new(16);
                state.open.push(sender);
                return Response::new(Either::Left(body));
            }
            Some(Fault::Closes) => String::new(),
            Some(Fault::Gone) => format!("{}\n", json!({"type": "ERROR", "object": status(410)})),
            Some(Fault::Rubbish) => "{\"type\": \"ADDED\", \"object\": 7}\n".to_owned(),
        };
        // The end of the body ends the watch.
        Response::new(Either::Right(Full::new(line.into())))
    }

    /// Changes the objects and faults without sending events, and closes all watches.
    fn change(&self, namespaces: &[&'static str], broken: u32, faults: Vec<Fault>) {
        let mut state = self.0.lock().unwrap();
        state.namespaces = namespaces.to_vec();
        state.broken = broken;
        state.faults = faults.into();
        state.open.clear();
    }

    /// Sends an `ADDED` event on all open watches.
    async fn tell(&self, name: &'static str) {
        let mut open = std::mem::take(&mut self.0.lock().unwrap().open);
        let line = format!("{}\n", json!({"type": "ADDED", "object": namespace(name)}));
        for watch in &mut open {
            let _ = watch.send_data(line.clone().into()).await;
        }
        self.0.lock().unwrap().open.extend(open);
    }
}

fn status(code: u16) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "as the test wants it", "reason": "Expired", "code": code,
    })
}

fn namespace(name: &str) -> Value {
    json!({
        "kind": "Namespace", "apiVersion": "v1",
        "metadata": {"name": name, "uid": name, "resourceVersion": "8"},
    })
}

struct Follower {
    world: ObjectCache,
    events: mpsc::Receiver<Event>,
}

impl Follower {
    fn start(server: &Server) -> Self {
        let (sender, events) = mpsc::channel(16);
        let source = Source {
            kind: kinds::find("Namespace").unwrap(),
            seconds: 40,
            client: server.client(),
            events: sender,
            metrics: Arc::default(),
        };
        tokio::spawn(source.run(watch::channel(Served::default()).1));
        Self {
            world: ObjectCache::default(),
            events,
        }
    }

    fn has(&self, name: &str) -> bool {
        let key = ObjectKey::new("", name);
        self.world.observed("Namespace", &key).is_some()
    }

    /// Waits until the cache contains `name`. After each event, all objects in `stay` must be present.
    async fn until(&mut self, name: &str, stay: &[&str], what: &str) {
        let began = Instant::now();
        while !self.has(name) {
            let left = (SOON * 2).saturating_sub(began.elapsed());
            let event = timeout(left, self.events.recv()).await;
            self.world.take(event.expect(what).expect("it goes on"));
            for name in stay {
                assert!(self.has(name), "{what}: {name} was removed");
            }
        }
        assert!(began.elapsed() < SOON, "{what}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn whatever_the_server_does_the_world_catches_up_and_loses_nothing() {
    let server = Server::default();
    server.change(&["a"], 0, Vec::new());
    let mut follower = Follower::start(&server);
    follower.until("a", &[], "the first list").await;

    for (at, (name, broken, faults)) in [
        ("cut", 0, vec![Fault::Closes, Fault::Gone]),
        ("gone", 0, vec![Fault::Gone]),
        ("away", 3, vec![Fault::Gone]),
        (
            "confused",
            1,
            vec![Fault::Rubbish, Fault::Closes, Fault::Gone],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let all = ["a", "cut", "gone", "away", "confused"];
        server.change(&all[..at + 2], broken, faults);
        follower.until(name, &all[..=at], name).await;
    }
    // A restored watch also delivers later changes.
    loop {
        let listed = follower.events.recv().await.expect("it goes on").news;
        if matches!(listed, News::Listed) {
            break;
        }
    }
    while server.0.lock().unwrap().open.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.tell("new").await;
    follower.until("new", &["a", "confused"], "a change").await;
    assert!(server.0.lock().unwrap().lists >= 5);
}

#[test]
fn an_object_of_a_list_gets_its_kind_and_loses_what_nobody_reads() {
    let object = json!({
        "metadata": {"name": "web", "namespace": "team", "managedFields": [{"manager": "x"}]},
        "spec": {"ports": [{"port": 80}]},
        "status": {"loadBalancer": {}},
    });
    let object: DynamicObject = serde_json::from_value(object).expect("an object");

    let value = value(object, "Service", "v1");

    assert_eq!(
        value,
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "team"},
            "spec": {"ports": [{"port": 80}]},
            "status": {"loadBalancer": {}},
        })
    );
}
