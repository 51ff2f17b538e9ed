//! `migrate --prove`: sends generated requests to the translation and compares the responses with those of
//! the model.
//!
//! The data plane runs in this process without listening sockets. Its backends are one echo server on
//! loopback, with a separate address for each port of a Service.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tower_service::Service;
use towergate_core::Body;
use towergate_core::conn::ConnectionAddrs;
use towergate_core::gateway::{Gateway, Options, PortService};
use towergate_k8s::decode::Decoder;
use towergate_k8s::ingress::model::{IngressNginx, ModelRequest};
use towergate_k8s::ingress::proof::{self, Observed};
use towergate_k8s::ingress::proof_report::{ProofReport, explain, not_comparable};
use towergate_k8s::ingress::{Manifests, Migration};
use towergate_k8s::resolve::Parity;
use towergate_k8s::{ResolveOptions, resolve};

use crate::Failure;
use crate::prove_stand_ins::StandIns;

/// Compares the model of ingress-nginx with the translation. `texts` are the manifests by file name. If there
/// are no `requests`, they are generated. If a verdict describes a difference, the request becomes the
/// example of the verdict.
///
/// # Errors
/// If no socket can be bound or the plan cannot be built.
pub(crate) fn prove(
    manifests: &Manifests,
    texts: &[(String, String)],
    flags: &[String],
    migration: &mut Migration,
    requests: Option<Vec<ModelRequest>>,
) -> Result<ProofReport, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(manifests, texts, flags, migration, requests))
}

async fn run(
    manifests: &Manifests,
    texts: &[(String, String)],
    flags: &[String],
    migration: &mut Migration,
    requests: Option<Vec<ModelRequest>>,
) -> Result<ProofReport, Failure> {
    let nginx = IngressNginx::new(manifests, flags);
    let echo = Echo::start().await?;
    let gateway = gateway(&nginx, texts, migration, &echo)?;
    let ports = [gateway.service(80), gateway.service(443)];
    let https = proof::has_https(&migration.objects);
    let mut proof = ProofReport::new("Proof");
    proof.assumed_services = proof::assumed_services(&nginx);
    for request in requests.unwrap_or_else(|| proof::requests(&nginx)) {
        if request.https && !https {
            proof.skip("the translation has no listener for HTTPS");
            continue;
        }
        let expected = nginx.answer(&request);
        if let Some(reason) = not_comparable(&nginx, &request, &expected) {
            proof.skip(reason);
            continue;
        }
        let found = send(&ports[usize::from(request.https)], &request, &echo).await?;
        proof.compared += 1;
        if let Some(mut difference) = proof::compare(&request, &expected, &found) {
            let verdicts = &mut migration.verdicts;
            explain(
                &nginx,
                verdicts,
                &request,
                (&expected, &found),
                &mut difference,
            );
            proof.differences.push(difference);
        }
    }
    proof.sort();
    Ok(proof)
}

/// A gateway that serves the translation. Its backends are the echo server.
fn gateway(
    nginx: &IngressNginx<'_>,
    texts: &[(String, String)],
    migration: &Migration,
    echo: &Echo,
) -> Result<Gateway, Failure> {
    let mut decoder = Decoder::new(false);
    for (file, text) in texts {
        decoder.file(file, text);
    }
    decoder.file("missing.yaml", &proof::missing_services(nginx));
    decoder.file("translation.yaml", &proof::prepare(&migration.objects));
    let mut objects = decoder.finish().objects;
    let StandIns { endpoints, names } =
        StandIns::replace_all(&mut objects, echo.port, |service| nginx.is_ready(service));
    echo.names
        .set(names)
        .map_err(|_| "the echo server is in use")?;
    let options = ResolveOptions {
        endpoints,
        parity: Parity {
            strict_host: true,
            ..Parity::default()
        },
        serve_unclassed: true,
        ..ResolveOptions::default()
    };
    let resolution = resolve(&objects, &options);
    let gateway = Gateway::new(Options::default());
    gateway.set_endpoints(&resolution.endpoints);
    gateway.apply(&resolution.plan)?;
    Ok(gateway)
}

/// Sends a request through a port of the gateway.
async fn send(
    port: &PortService,
    request: &ModelRequest,
    echo: &Echo,
) -> Result<Observed, Failure> {
    let mut builder = Request::builder()
        .method(request.method.as_str())
        .uri(request.target.as_str());
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    let peer = SocketAddr::new(request.client, 50_000);
    let port_number = if request.https { 443 } else { 80 };
    let local = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port_number);
    let request = builder
        .extension(ConnectionAddrs::of_tcp(peer, local))
        .body(Body::empty())?;
    let Ok(response) = port.clone().call(request).await;
    let header = |name: &str| {
        let value = response.headers().get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let address = header(BACKEND).and_then(|text| text.parse::<IpAddr>().ok());
    let names = echo.names.get();
    let backend = address.and_then(|address| names?.get(&address).cloned());
    Ok(Observed {
        status: response.status().as_u16(),
        location: header("location"),
        backend,
        target: header(TARGET),
    })
}

/// Header field in which the echo server reports the address that received the request.
const BACKEND: &str = "x-proof-backend";
/// Header field in which the echo server reports the request target.
const TARGET: &str = "x-proof-target";

/// A server that reports the requests that it received. It binds all IPv4 addresses and closes connections
/// from other machines.
struct Echo {
    port: u16,
    /// Services by address.
    names: std::sync::OnceLock<HashMap<IpAddr, String>>,
}

impl Echo {
    async fn start() -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        let port = listener.local_addr()?.port();
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let Ok(local) = stream.local_addr() else {
                    continue;
                };
                // The server is not for other machines.
                if !peer.ip().is_loopback() {
                    continue;
                }
                let address: Arc<str> = local.ip().to_string().into();
                let service = service_fn(move |request: Request<Incoming>| {
                    let target = request.uri().path_and_query().map(ToString::to_string);
                    let response = Response::builder()
                        .header(BACKEND, &*address)
                        .header(TARGET, target.unwrap_or_default())
                        .body(Body::empty());
                    async move { response }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok(Self {
            port,
            names: std::sync::OnceLock::new(),
        })
    }
}
