//! `migrate --prove-against`: sends generated requests to a running ingress-nginx and to the new gateway, and compares.
//!
//! Only `GET`, `HEAD`, `OPTIONS` and methods that the user allows are sent, at a limited rate, each once to each side.

use std::time::Duration;

use tokio::time::{Interval, interval};
use towergate_k8s::ingress::Manifests;
use towergate_k8s::ingress::comparison::{compare_live, is_sendable};
use towergate_k8s::ingress::model::IngressNginx;
use towergate_k8s::ingress::proof;

use crate::Failure;
use crate::live_gateway::LiveGateway;
use crate::prove::Proof;

/// How many requests are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestBudget {
    /// Requests per second to each side.
    pub(crate) per_second: u32,
    /// Largest number of requests to each side.
    pub(crate) total: usize,
}

impl RequestBudget {
    /// Ticks at which requests are sent.
    pub(crate) fn pace(self) -> Interval {
        interval(Duration::from_secs(1) / self.per_second.max(1))
    }
}

/// Compares the gateways at the two addresses of `against`: ingress-nginx, then the new one.
///
/// # Errors
/// An address is invalid, or the addresses have different schemes.
pub(crate) fn prove_against(
    manifests: &Manifests,
    flags: &[String],
    against: &[String],
    allowed: &[String],
    budget: RequestBudget,
) -> Result<Proof, Failure> {
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
    let (sent, skipped): (Vec<_>, Vec<_>) = proof::requests(&nginx)
        .into_iter()
        .partition(|request| request.https == old.https && is_sendable(request, allowed));
    let left_out = sent.len().saturating_sub(budget.total);
    runtime.block_on(async {
        let mut proof = Proof {
            skipped: skipped.len() + left_out,
            ..Proof::default()
        };
        let mut pace = budget.pace();
        for request in sent.iter().take(budget.total) {
            pace.tick().await;
            let (expected, found) = tokio::join!(old.send(request), new.send(request));
            proof.compared += 1;
            proof
                .differences
                .extend(compare_live(request, &expected, &found));
        }
        proof::sort(&mut proof.differences);
        Ok(proof)
    })
}
