//! Forwarding over real sockets.

mod backend;
mod bodies;
mod churn;
mod dynamic;
mod faults;
mod health;
mod http2;
mod internal_client;
mod limits;
mod mirrors;
mod proxy_header;
mod retries;
mod service;
mod tls;
mod upgrades;
mod utilization;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;

use super::{ForwardContext, ForwardError, Forwarded, Forwarder};
use crate::balance::Clusters;
use crate::live::Live;
use crate::observer::{Event, Observer};
use crate::plan::{
    Backend as PlanBackend, BackendId, BackendProtocol, Destination, Endpoint, Endpoints, Traffic,
    WeightedBackend,
};
use crate::{Body, LocalReply};

/// A forwarder with the state it is built from.
struct Rig {
    live: Live,
    clusters: Arc<Clusters>,
    observer: Arc<Events>,
    forwarder: Forwarder,
}

/// Names of the observed events.
#[derive(Default)]
struct Events(Mutex<Vec<String>>);

impl Observer for Events {
    fn observe(&self, event: &Event<'_>) {
        let text = format!("{event:?}");
        let name = text.split(['(', ' ']).next().unwrap();
        self.0.lock().unwrap().push(name.to_owned());
    }
}

impl Events {
    fn count(&self, name: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|n| *n == name).count()
    }
}

fn id(name: &str) -> BackendId {
    BackendId::service("default", name, 80)
}

fn endpoints(addresses: &[SocketAddr]) -> Vec<Endpoint> {
    let endpoint = |address: &SocketAddr| Endpoint {
        address: (*address).into(),
        weight: 1,
        zone: None,
    };
    addresses.iter().map(endpoint).collect()
}

fn backend(weight: u32, destination: Destination) -> WeightedBackend {
    WeightedBackend {
        weight,
        filters: Vec::new(),
        destination,
    }
}

fn service(name: &str, protocol: BackendProtocol) -> Destination {
    Destination::Backend(Arc::new(PlanBackend {
        id: id(name),
        protocol,
        tls: None,
        hosts: Vec::new(),
        fallback: false,
        dynamic: None,
    }))
}

impl Rig {
    /// A forwarder with one backend `a` that has these endpoints.
    fn new(traffic: Traffic, addresses: &[SocketAddr]) -> Self {
        Self::speaking(BackendProtocol::Http1, traffic, addresses)
    }

    fn speaking(protocol: BackendProtocol, traffic: Traffic, addresses: &[SocketAddr]) -> Self {
        let backends = [backend(1, service("a", protocol))];
        let rig = Self::with(traffic, &backends);
        rig.clusters
            .update(&Endpoints::from([(id("a"), endpoints(addresses))]));
        rig
    }

    fn with(traffic: Traffic, backends: &[WeightedBackend]) -> Self {
        Self::over(Live::default(), traffic, backends)
    }

    fn over(live: Live, traffic: Traffic, backends: &[WeightedBackend]) -> Self {
        let clusters = Clusters::of(&live);
        let provider = towergate_tls::default_provider();
        let forwarder = Forwarder::new("rule", Arc::new(traffic), backends, &live, &provider);
        Self {
            live,
            clusters,
            observer: Arc::default(),
            forwarder,
        }
    }

    async fn forward(&self, request: Request<Body>) -> Result<Forwarded, ForwardError> {
        let observer: Arc<dyn Observer> = self.observer.clone();
        let context = ForwardContext {
            client: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            observer: &observer,
            envoy_headers: false,
            preserve_header_case: false,
            upgrade: None,
            connection: None,
        };
        self.forwarder.forward(&context, request).await
    }

    /// Sends a GET and returns status and body.
    async fn fetch(&self) -> (u16, String) {
        read(self.forward(get("/")).await.unwrap().response).await
    }

    /// Sends a request that fails and returns the local reply.
    async fn failed_reply(&self, request: Request<Body>) -> LocalReply {
        self.forward(request).await.unwrap_err().error.reply()
    }
}

fn get(path: &str) -> Request<Body> {
    let request = Request::get(path).header("host", "a.test");
    request.body(Body::empty()).unwrap()
}

fn post(body: impl Into<Body>) -> Request<Body> {
    let request = Request::post("/").header("host", "a.test");
    request.body(body.into()).unwrap()
}

async fn read(response: Response<Body>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// A body whose frames are sent through a channel; an `Err` fails it.
fn streamed() -> (
    tokio::sync::mpsc::UnboundedSender<Result<Bytes, std::io::Error>>,
    Body,
) {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let stream = futures_util::stream::poll_fn(move |cx| {
        let next = receiver.poll_recv(cx);
        next.map(|item| item.map(|item: Result<Bytes, _>| item.map(http_body::Frame::data)))
    });
    (sender, Body::new(http_body_util::StreamBody::new(stream)))
}

/// Waits until `done` returns true.
async fn until(mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .expect("the condition becomes true within 20 s");
}
