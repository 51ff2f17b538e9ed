//! `migrate --prove-against`: sends generated requests to a running ingress-nginx and to the new gateway, and
//! compares the responses.
//!
//! Only requests with `GET`, `HEAD`, `OPTIONS` and methods that the user allows are sent, at a limited rate.
//! Each request is sent once to each side.

use std::time::Duration;

use tokio::time::{Interval, interval};
use towergate_k8s::ingress::Manifests;
use towergate_k8s::ingress::comparison::{add_live_comparison, is_sendable};
use towergate_k8s::ingress::model::IngressNginx;
use towergate_k8s::ingress::proof;
use towergate_k8s::ingress::proof_report::ProofReport;

use crate::Failure;
use crate::live_gateway::LiveGateway;
use crate::prove::KnownDifferences;

/// Rate and number of requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestBudget {
    /// Requests per second to each side.
    pub(crate) per_second: u32,
    /// Largest number of requests to each side.
    pub(crate) total: usize,
}

impl RequestBudget {
    /// The times at which requests are sent.
    pub(crate) fn pace(self) -> Interval {
        interval(Duration::from_secs(1) / self.per_second.max(1))
    }
}

/// Compares the gateways at the two addresses of `against`: first that of ingress-nginx, then that of the new
/// gateway.
///
/// `known` contains, for each request, the names of the verdicts that describe its differences.
///
/// # Errors
/// If an address is invalid, or the addresses have different schemes.
pub(crate) fn prove_against(
    manifests: &Manifests,
    flags: &[String],
    known: &KnownDifferences,
    against: &[String],
    allowed: &[String],
    budget: RequestBudget,
) -> Result<ProofReport, Failure> {
    let [old, new] = against else {
        return Err(
            "--prove-against: expected the addresses of ingress-nginx and of the new gateway"
                .into(),
        );
    };
    let parse =
        |text| LiveGateway::parse(text).map_err(|error| format!("--prove-against: {error}"));
    let (old, new) = (parse(old)?, parse(new)?);
    if old.https != new.https {
        return Err("--prove-against: both addresses must have the same scheme".into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let nginx = IngressNginx::new(manifests, flags);
    let mut proof = ProofReport::new("Running gateways");
    let mut sent = Vec::new();
    for request in proof::requests(&nginx) {
        if request.https != old.https {
            proof.skip("the addresses have another scheme");
        } else if request.client != proof::STRANGER {
            proof.skip("the client address of the request cannot be chosen");
        } else if !is_sendable(&request, allowed) {
            proof.skip("the method of the request may change data of the backends: see --prove-allow-method");
        } else if sent.len() == budget.total {
            proof.skip("the number of requests exceeds --prove-requests");
        } else {
            sent.push(request);
        }
    }
    runtime.block_on(async {
        let mut pace = budget.pace();
        for request in &sent {
            pace.tick().await;
            let (expected, found) = tokio::join!(old.send(request), new.send(request));
            add_live_comparison(&mut proof, request, (&expected, &found), known);
        }
        proof.sort();
        Ok(proof)
    })
}
