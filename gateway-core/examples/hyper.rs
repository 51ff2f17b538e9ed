//! A plain hyper service with the parts of the gateway around it, and the route table inside.
//!
//! ```text
//! cargo run -p towergate-core --example hyper
//! curl --haproxy-protocol -H 'Host: www.example.com' http://127.0.0.1:3000/api/users
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;

use http::{Request, Response, StatusCode, request};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::service_fn;
use tower_layer::Layer;
use towergate_core::conn::proxy::{EndsLayer, ProxyAcceptor, ProxyListener};
use towergate_core::filter::{Redirect, RedirectLayer};
use towergate_core::http::client_ip::{ClientIp, ClientIpLayer, ClientIpRule};
use towergate_core::http::{SanitizeLayer, Sanitized};
use towergate_core::plan::{Match, PathMatch};
use towergate_core::policy::{Guard, GuardLayer, Rejection, ResponseEdits};
use towergate_core::route::{Query, RouteTable};

/// A rule of our own: only reading.
#[derive(Debug)]
struct ReadOnly;

impl Guard for ReadOnly {
    fn check(&self, head: &mut request::Parts) -> Result<ResponseEdits, Rejection> {
        if head.method.is_safe() {
            Ok(Vec::new())
        } else {
            Err(Rejection::new(StatusCode::METHOD_NOT_ALLOWED, "read_only"))
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    serve_on(TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve_on(socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let balancers = vec!["127.0.0.0/8".parse()?];
    let mut listener = ProxyListener::new(socket, ProxyAcceptor::required(balancers));
    let moved = Redirect {
        scheme: None,
        hostname: Some("new.example.org".to_owned()),
        port: None,
        path: None,
        status: 302,
    };
    let parts = (
        SanitizeLayer::default(),
        ClientIpLayer::new(ClientIpRule::Peer),
        RedirectLayer::new(moved).below("/old"),
        GuardLayer::new(ReadOnly),
    );
    let table = Arc::new(table()?);
    loop {
        let (stream, ends) = listener.accept().await;
        let table = table.clone();
        let routed = service_fn(move |request| {
            let answer = answer(&table, &request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let service = TowerToHyperService::new(EndsLayer(ends).layer(parts.layer(routed)));
        tokio::spawn(async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("{}: {error}", ends.peer);
            }
        });
    }
}

/// What belongs to an entry is ours to say; here a name.
fn table() -> Result<RouteTable<&'static str>, Box<dyn Error>> {
    let api = Match {
        path: PathMatch::Prefix("/api".to_owned()),
        ..Match::default()
    };
    let all = Match::default();
    Ok(RouteTable::build([
        ("*.example.com".parse()?, &all, "pages"),
        ("*.example.com".parse()?, &api, "api"),
    ]))
}

fn answer(table: &RouteTable<&'static str>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let clean = request.extensions().get::<Sanitized>();
    let query = Query {
        host: clean.map_or("", |clean| clean.authority.host()),
        path: request.uri().path(),
        query: request.uri().query(),
        method: request.method(),
        headers: request.headers(),
    };
    let mut response = Response::new(Full::default());
    match (table.find(&query, false), request.extensions().get()) {
        (Some(found), Some(ClientIp(client))) => {
            let text = format!("{} welcome {client}\n", found.payload);
            *response.body_mut() = text.into();
        }
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    response
}
