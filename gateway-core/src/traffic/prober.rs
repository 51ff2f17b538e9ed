//! Asks endpoints whether they are well, again and again (Envoy: active health checking).
//!
//! Each endpoint has a task. It begins with the first request of its rule, and ends with its endpoint or
//! its rule. Until the first answer an endpoint gets requests; that answer counts at once, whatever the
//! thresholds say, as Envoy takes it.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::outlier::Detector;
use crate::balance::Node;
use crate::plan::ActiveCheck;
use crate::upstream::{Pool, Verdict, probe};

/// What endpoints are asked, and over what.
#[derive(Debug)]
pub(super) struct Prober {
    pub(super) check: ActiveCheck,
    pub(super) pool: Arc<Pool>,
}

/// The answers of an endpoint so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Series {
    /// What it is taken for; `None` before the first answer.
    ill: Option<bool>,
    /// Answers in a row that say otherwise.
    against: u32,
}

impl Series {
    /// Takes one more answer; what the endpoint is taken for from now on, if that changes.
    fn note(&mut self, verdict: Verdict, check: &ActiveCheck) -> Option<bool> {
        let ill = verdict != Verdict::Well;
        if self.ill == Some(ill) {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = match verdict {
            Verdict::Well => check.healthy,
            Verdict::Failed => check.unhealthy,
            Verdict::Ill => 1,
        };
        if self.ill.is_some() && self.against < needed {
            return None;
        }
        *self = Self {
            ill: Some(ill),
            against: 0,
        };
        Some(ill)
    }
}

/// Asks `node` until it is gone, or nobody wants to know.
pub(super) async fn watch(detector: Weak<Detector>, node: Arc<Node>) {
    let mut series = Series::default();
    let mut pause = match detector.upgrade().as_ref().and_then(|d| d.prober()) {
        Some(prober) => draw(prober.check.initial_jitter),
        None => return,
    };
    loop {
        tokio::time::sleep(pause).await;
        let Some(detector) = detector.upgrade().filter(|_| !node.is_gone()) else {
            return;
        };
        let Some(Prober { check, pool }) = detector.prober() else {
            return;
        };
        let port = check.port.unwrap_or(node.address().port());
        let address = SocketAddr::new(node.address().ip(), port);
        let asked = probe(pool, address, &check.probe);
        let verdict = tokio::time::timeout(check.timeout, asked).await;
        let verdict = verdict.unwrap_or(Verdict::Failed);
        if let Some(ill) = series.note(verdict, check) {
            detector.set_ill(node.address(), ill);
        }
        pause = check.interval;
    }
}

fn draw(most: Duration) -> Duration {
    let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(fastrand::u64(..=most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Probe;

    #[test]
    fn an_endpoint_is_ill_or_well_after_so_many_answers_in_a_row() {
        use Verdict::{Failed, Ill, Well};
        let check = ActiveCheck {
            timeout: Duration::from_secs(1),
            interval: Duration::from_secs(3),
            initial_jitter: Duration::ZERO,
            unhealthy: 3,
            healthy: 2,
            port: None,
            probe: Probe::Grpc(String::new()),
        };
        for (verdicts, expected) in [
            (vec![Well], Some(false)),
            (vec![Failed], Some(true)),
            (vec![Well, Failed, Failed], Some(false)),
            (vec![Well, Failed, Failed, Failed], Some(true)),
            (vec![Well, Failed, Failed, Well, Failed], Some(false)),
            (vec![Well, Ill], Some(true)),
            (vec![Failed, Well], Some(true)),
            (vec![Failed, Well, Failed, Well], Some(true)),
            (vec![Failed, Well, Well], Some(false)),
        ] {
            let mut series = Series::default();
            for verdict in &verdicts {
                series.note(*verdict, &check);
            }
            assert_eq!(series.ill, expected, "{verdicts:?}");
        }
    }
}
