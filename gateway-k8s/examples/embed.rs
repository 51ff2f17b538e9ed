//! A complete gateway in twenty lines: resolves manifests and serves requests.
//!
//! ```text
//! cargo run -p towergate-k8s --example embed
//! curl -i http://127.0.0.1:8080/
//! ```

use std::collections::BTreeMap;
use std::error::Error;

use towergate_core::gateway::{Gateway, Options};
use towergate_k8s::decode::decode;
use towergate_k8s::{ResolveOptions, resolve};

const MANIFESTS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: eg, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: moved}
spec:
  parentRefs: [{name: edge}]
  rules:
    - filters: [{type: RequestRedirect, requestRedirect: {hostname: www.example.com}}]
";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let _gateway = serve(MANIFESTS, 8080)?;
    Ok(tokio::signal::ctrl_c().await?)
}

/// Serves `manifests` with their port 80 bound as `port`, until the gateway is dropped.
pub(crate) fn serve(manifests: &str, port: u16) -> Result<Gateway, Box<dyn Error>> {
    let decoded = decode("manifests.yaml", manifests);
    let scope = ResolveOptions {
        ports: BTreeMap::from([(80, port)]),
        ..ResolveOptions::default()
    };
    let resolution = resolve(&decoded.objects, &scope);
    for diagnostic in decoded.diagnostics.iter().chain(&resolution.diagnostics) {
        eprintln!("{}: {}", diagnostic.line, diagnostic.message);
    }
    let gateway = Gateway::new(Options::default());
    gateway.start(2)?; // Threads.
    gateway.set_endpoints(&resolution.endpoints);
    gateway.apply(&resolution.plan)?; // Again after each change.
    Ok(gateway)
}
