//! `migrate --prove`: sends generated requests to the translation and compares the responses with those of
//! the model.
//!
//! The data plane runs in this process without listening sockets. Its backends and authentication servers are one echo
//! server on loopback, with an address for each port of a Service. A field of each request states the decision of the
//! authentication server.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::{HeaderMap, Request};
use tower_service::Service;
use towergate_core::Body;
use towergate_core::conn::{ConnInfo, ConnectionAddrs};
use towergate_core::gateway::{Gateway, Options, PortService};
use towergate_k8s::decode::Decoder;
use towergate_k8s::ingress::model::{IngressNginx, ModelRequest};
use towergate_k8s::ingress::proof::{self, Observed};
use towergate_k8s::ingress::proof_report::{ProofReport, explain, not_comparable};
use towergate_k8s::ingress::{Manifests, Migration};
use towergate_k8s::{ObjectKey, ResolveOptions, resolve};
use towergate_tls::acceptor::Negotiated;

use crate::Failure;
use crate::prove_echo::{AUTH_STATUS, Echo};
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
    let echo = Echo::start(nginx.hidden_headers()).await?;
    let gateway = gateway(&nginx, texts, migration, &echo)?;
    let ports = [gateway.service(80), gateway.service(443)];
    let https = proof::has_https(&migration.objects);
    let mut proof = ProofReport::new("Proof");
    proof.assumed_services = proof::assumed_services(&nginx);
    let mut coverage = Coverage::default();
    let generated = || proof::with_decisions(&nginx, proof::requests(&nginx));
    for request in requests.unwrap_or_else(generated) {
        let ingress = nginx.ingress_of(&request);
        let expected = nginx.answer(&request);
        let reason = match request.https && !https {
            true => Some("the translation has no listener for HTTPS"),
            false => not_comparable(&nginx, &request, &expected),
        };
        coverage.add(ingress, reason);
        if let Some(reason) = reason {
            proof.skip(reason);
            continue;
        }
        let effects = nginx.effects(&request, &expected);
        let found = send(&ports[usize::from(request.https)], &request, &echo).await?;
        proof.compared += 1;
        if let Some(mut difference) = proof::compare(&request, &expected, &effects, &found) {
            let verdicts = &mut migration.verdicts;
            explain(
                &nginx,
                verdicts,
                &request,
                (&expected, &effects, &found),
                &mut difference,
            );
            proof.differences.push(difference);
        }
    }
    coverage.report(&mut proof);
    proof.list_settings_not_shown(&migration.verdicts);
    proof.sort();
    Ok(proof)
}

/// The Ingresses that receive requests of the proof. The value is the first reason why a request to the
/// Ingress was not compared. `None`: at least one request was compared.
#[derive(Default)]
struct Coverage(BTreeMap<ObjectKey, Option<&'static str>>);

impl Coverage {
    fn add(&mut self, ingress: Option<&ObjectKey>, reason: Option<&'static str>) {
        if let Some(ingress) = ingress {
            let known = self.0.entry(ingress.clone()).or_insert(reason);
            *known = known.and(reason.and(*known));
        }
    }

    fn report(self, proof: &mut ProofReport) {
        proof.ingresses = Some(self.0.len());
        let reasons = self.0.into_iter();
        let reasons = reasons.filter_map(|(ingress, reason)| Some((ingress.to_string(), reason?)));
        proof.unproved_ingresses = reasons.collect();
    }
}

/// Names of the verdicts that describe differences of the translation, by request.
pub(crate) type KnownDifferences = BTreeMap<String, Vec<String>>;

/// The differences of the translation that verdicts describe.
///
/// # Errors
/// If no socket can be bound or the plan cannot be built.
pub(crate) fn described_differences(
    manifests: &Manifests,
    texts: &[(String, String)],
    flags: &[String],
    migration: &mut Migration,
    requests: Option<Vec<ModelRequest>>,
) -> Result<KnownDifferences, Failure> {
    let proof = prove(manifests, texts, flags, migration, requests)?;
    let differences = proof.differences.into_iter();
    let described = differences.map(|one| (one.request, one.explained_by));
    Ok(described.filter(|(_, names)| !names.is_empty()).collect())
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
    if let Some(status) = request.auth_status {
        builder = builder.header(AUTH_STATUS, status);
    }
    let peer = SocketAddr::new(request.client, 50_000);
    let port_number = if request.https { 443 } else { 80 };
    let local = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port_number);
    let addrs = ConnectionAddrs::of_tcp(peer, local);
    let tls = request.https.then(|| Negotiated {
        server_name: request.header("host").map(str::to_ascii_lowercase),
        ..Negotiated::default()
    });
    let conn = ConnInfo::new(addrs, usize::MAX, port_number, tls);
    let request = builder.extension(Arc::new(conn)).body(Body::empty())?;
    echo.forget();
    let Ok(response) = port.clone().call(request).await;
    let header = |name: &str| {
        let value = response.headers().get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let received = echo.received(response.headers()).unwrap_or_default();
    Ok(Observed {
        status: response.status().as_u16(),
        location: header("location"),
        backend: received.name,
        target: received.target,
        headers: fields(response.headers()),
        received: fields(&received.headers),
        auth_calls: echo.auth_calls(),
    })
}

/// Header fields as text.
fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let fields = headers.iter();
    fields
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect()
}

#[cfg(test)]
mod worlds;
