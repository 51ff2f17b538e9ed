//! Active health checks of endpoints, as in Envoy.
//!
//! Each endpoint has a task, which starts with the first request of the rule and ends when the endpoint or
//! the rule is removed. An endpoint receives requests until its first probe has completed. The first result
//! takes effect at once; later results are subject to the thresholds.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::outlier::OutlierDetector;
use crate::balance::LiveEndpoint;
use crate::plan::{ActiveCheck, EndpointAddress};
use crate::upstream::{Pool, ProbeResult, probe};

/// Probe settings and the pool whose transport the probes use.
#[derive(Debug)]
pub(super) struct Prober {
    pub(super) check: ActiveCheck,
    pub(super) pool: Arc<Pool>,
}

/// Results of the probes of an endpoint.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct ProbeHistory {
    /// Whether the endpoint is unhealthy. `None` before the first result.
    unhealthy: Option<bool>,
    /// Number of consecutive results that contradict `unhealthy`.
    contradicting: u32,
}

impl ProbeHistory {
    /// Adds a result. Returns the new state if it changes.
    fn record(&mut self, result: ProbeResult, check: &ActiveCheck) -> Option<bool> {
        let unhealthy = result != ProbeResult::Healthy;
        if self.unhealthy == Some(unhealthy) {
            self.contradicting = 0;
            return None;
        }
        self.contradicting += 1;
        let needed = match result {
            ProbeResult::Healthy => check.healthy,
            ProbeResult::Failed => check.unhealthy,
            ProbeResult::Unhealthy => 1,
        };
        if self.unhealthy.is_some() && self.contradicting < needed {
            return None;
        }
        *self = Self {
            unhealthy: Some(unhealthy),
            contradicting: 0,
        };
        Some(unhealthy)
    }
}

/// Probes `endpoint` until it is removed or the detector is dropped.
pub(super) async fn watch(detector: Weak<OutlierDetector>, endpoint: Arc<LiveEndpoint>) {
    let mut history = ProbeHistory::default();
    let mut pause = match detector.upgrade().as_ref().and_then(|d| d.prober()) {
        Some(prober) => random_delay(prober.check.initial_jitter),
        None => return,
    };
    loop {
        tokio::time::sleep(pause).await;
        let Some(detector) = detector.upgrade().filter(|_| !endpoint.is_removed()) else {
            return;
        };
        let Some(Prober { check, pool }) = detector.prober() else {
            return;
        };
        let address = probed_address(endpoint.address(), check.port);
        let probing = probe(pool, &address, &check.probe);
        let result = tokio::time::timeout(check.timeout, probing).await;
        let result = result.unwrap_or(ProbeResult::Failed);
        if let Some(unhealthy) = history.record(result, check) {
            detector.set_unhealthy(endpoint.address(), unhealthy);
        }
        pause = check.interval;
    }
}

/// The address of probes; `port` replaces the port of an IP address.
fn probed_address(address: &EndpointAddress, port: Option<u16>) -> EndpointAddress {
    match (address.ip_and_port(), port) {
        (Some(address), Some(port)) => SocketAddr::new(address.ip(), port).into(),
        _ => address.clone(),
    }
}

fn random_delay(max: Duration) -> Duration {
    let max = u64::try_from(max.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(fastrand::u64(..=max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Probe;

    #[test]
    fn the_state_changes_after_the_configured_number_of_consecutive_results() {
        use ProbeResult::{Failed, Healthy, Unhealthy};
        let check = ActiveCheck {
            timeout: Duration::from_secs(1),
            interval: Duration::from_secs(3),
            initial_jitter: Duration::ZERO,
            unhealthy: 3,
            healthy: 2,
            port: None,
            probe: Probe::Grpc(String::new()),
        };
        for (results, expected) in [
            (vec![Healthy], Some(false)),
            (vec![Failed], Some(true)),
            (vec![Healthy, Failed, Failed], Some(false)),
            (vec![Healthy, Failed, Failed, Failed], Some(true)),
            (vec![Healthy, Failed, Failed, Healthy, Failed], Some(false)),
            (vec![Healthy, Unhealthy], Some(true)),
            (vec![Failed, Healthy], Some(true)),
            (vec![Failed, Healthy, Failed, Healthy], Some(true)),
            (vec![Failed, Healthy, Healthy], Some(false)),
        ] {
            let mut history = ProbeHistory::default();
            for result in &results {
                history.record(*result, &check);
            }
            assert_eq!(history.unhealthy, expected, "{results:?}");
        }
    }
}
