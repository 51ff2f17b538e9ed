//! An in-memory API server for the provisioner: get, apply and delete objects by path.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// The server. It stores objects by path.
#[derive(Clone, Debug, Default)]
pub(super) struct ApiServer {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Value>,
    /// Write requests, as "PATCH path" or "DELETE path".
    writes: Vec<String>,
    made: u64,
}

impl ApiServer {
    /// A client of the server.
    pub(super) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        Client::new(service, "default")
    }

    /// The object at `path`.
    pub(super) fn find(&self, path: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(path).cloned()
    }

    /// The paths of all objects.
    pub(super) fn paths(&self) -> Vec<String> {
        self.state.lock().unwrap().objects.keys().cloned().collect()
    }

    /// Stores an object at `path`.
    pub(super) fn put(&self, path: &str, object: Value) {
        self.state
            .lock()
            .unwrap()
            .objects
            .insert(path.to_owned(), object);
    }

    /// The write requests since the last call.
    pub(super) fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().writes)
    }

    async fn answer(&self, request: Request<Body>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = head.uri.path().to_owned();
        let mut state = self.state.lock().unwrap();
        if head.method != Method::GET {
            state.writes.push(format!("{} {path}", head.method));
        }
        match head.method {
            Method::GET if state.objects.contains_key(&path) => ok(&state.objects[&path]),
            Method::PATCH => {
                let query = head.uri.query().unwrap_or_default();
                assert!(
                    query.contains("fieldManager=towergate-controller"),
                    "{query}"
                );
                assert!(query.contains("fieldValidation=Strict"), "{query}");
                let mut object: Value = serde_json::from_slice(&body).unwrap();
                state.made += 1;
                object["metadata"]["uid"] = format!("object-{}", state.made).into();
                object["metadata"]["resourceVersion"] = state.made.to_string().into();
                object["metadata"]["managedFields"] = json!([{}]);
                state.objects.insert(path, object.clone());
                ok(&object)
            }
            Method::DELETE => {
                let options: Value = serde_json::from_slice(&body).unwrap();
                let held = state
                    .objects
                    .get(&path)
                    .map(|held| held["metadata"]["uid"].clone());
                assert_eq!(held.as_ref(), Some(&options["preconditions"]["uid"]));
                state.objects.remove(&path);
                ok(&json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }))
            }
            _ => status(StatusCode::NOT_FOUND),
        }
    }
}

fn ok(object: &Value) -> Response<Full<Bytes>> {
    Response::new(Full::new(object.to_string().into()))
}

fn status(code: StatusCode) -> Response<Full<Bytes>> {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "", "metadata": {},
        "reason": "NotFound", "code": code.as_u16(),
    });
    let mut response = Response::new(Full::new(body.to_string().into()));
    *response.status_mut() = code;
    response
}
