//! The policies of Envoy Gateway, as users write them, around a plain hyper service: a
//! ClientTrafficPolicy says how requests are cleaned and who the client is, the local rate limit of a
//! BackendTrafficPolicy says how many it may send. No gateway, no cluster.
//!
//! ```text
//! cargo run -p towergate-policy --example policies_hyper
//! for i in 1 2 3; do curl -i -H 'X-Forwarded-For: 203.0.113.7' http://127.0.0.1:3000/; done
//! ```

use std::convert::Infallible;
use std::error::Error;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::service_fn;
use tower_layer::Layer;
use towergate_core::conn::proxy::{Ends, EndsLayer};
use towergate_core::http::SanitizeLayer;
use towergate_core::http::client_ip::{ClientIp, ClientIpLayer};
use towergate_core::policy::GuardLayer;
use towergate_policy::{
    BackendTrafficPolicySpec, ClientTrafficPolicySpec, Policy, backend_traffic, client_traffic,
};

/// `spec` of a ClientTrafficPolicy.
const CLIENTS: &str = r#"{
    "clientIPDetection": {"xForwardedFor": {"numTrustedHops": 1}},
    "path": {"escapedSlashesAction": "RejectRequest"}
}"#;

/// `spec` of a BackendTrafficPolicy: two requests an hour for each client.
const LIMIT: &str = r#"{"rateLimit": {"type": "Local", "local": {"rules": [{
    "clientSelectors": [{"sourceCIDR": {"type": "Distinct", "value": "0.0.0.0/0"}}],
    "limit": {"requests": 2, "unit": "Hour"}
}]}}}"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    serve_on(TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve_on(socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let clients: ClientTrafficPolicySpec = serde_json::from_str(CLIENTS)?;
    let limit: BackendTrafficPolicySpec = serde_json::from_str(LIMIT)?;
    let settings = clients
        .listener_settings(client_traffic::Context::default())?
        .settings;
    let limit = limit.traffic(backend_traffic::Context {
        policy: "default/limit",
        rate_limit_headers: true,
    })?;
    let Some(Policy::LocalRateLimit(limit)) = limit.policies.into_iter().next() else {
        return Err("there is no limit".into());
    };
    let parts = (
        ClientIpLayer::new(settings.client_ip.clone()),
        SanitizeLayer::new(settings.into()),
        GuardLayer::new(limit.limiter()),
    );
    loop {
        let (stream, peer) = socket.accept().await?;
        let ends = EndsLayer(Ends::of_tcp(peer, stream.local_addr()?));
        let service = TowerToHyperService::new(ends.layer(parts.layer(service_fn(answer))));
        tokio::spawn(async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let client = request.extensions().get::<ClientIp>();
    let text = client.map_or("who?".to_owned(), |client| format!("hello, {}", client.0));
    Ok(Response::new(text.into()))
}
