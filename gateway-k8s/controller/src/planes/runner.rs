//! Provisions the objects of Gateways in a separate task. Provisioning waits for the API server, which must
//! not delay the control loop.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::lease::Leads;
use crate::provision::{GatewayToRun, Provisioner};
use crate::serve::CertificateAuthority;
use crate::watch::Pause;

/// Debounce time of changes.
const QUIET: Duration = Duration::from_millis(100);
/// Upper bound of the pause after a failure.
const PAUSE: Duration = Duration::from_secs(30);
/// Interval of provisioning without changes, which renews credentials.
const PERIOD: Duration = Duration::from_secs(600);

/// The inputs of the task that provisions the objects of Gateways.
pub(crate) struct Inputs {
    /// Gateways to provision. `None`: no resolution yet.
    pub(crate) gateways: watch::Receiver<Option<Vec<GatewayToRun>>>,
    /// CA that signs credentials. `None`: not available yet.
    pub(crate) authority: watch::Receiver<Option<Arc<CertificateAuthority>>>,
    /// Whether this controller is the leader. Followers provision nothing.
    pub(crate) leads: watch::Receiver<bool>,
    /// Time until which this controller leads.
    pub(crate) until: Leads,
}

/// Runs until the process exits. `known` becomes true once all existing objects are listed.
pub(crate) async fn run(
    provisioner: Arc<Provisioner>,
    mut inputs: Inputs,
    known: watch::Sender<bool>,
) {
    let follower = Arc::clone(&provisioner);
    tokio::spawn(async move { follower.follow().await });
    provisioner.known().await;
    known.send_replace(true);
    let mut changes = provisioner.changes();
    let mut pause = Pause::up_to(PAUSE);
    let mut said = Vec::new();
    let mut next = Instant::now();
    loop {
        let closed = tokio::select! {
            changed = inputs.gateways.changed() => changed.is_err(),
            changed = inputs.authority.changed() => changed.is_err(),
            changed = inputs.leads.changed() => changed.is_err(),
            changed = changes.changed() => changed.is_err(),
            () = sleep_until(next) => false,
        };
        if closed {
            return;
        }
        sleep(QUIET).await;
        inputs.gateways.mark_unchanged();
        changes.mark_unchanged();
        next = Instant::now() + PERIOD;
        let (gateways, authority) = (
            inputs.gateways.borrow().clone(),
            inputs.authority.borrow().clone(),
        );
        let (Some(gateways), Some(authority), true) = (gateways, authority, *inputs.leads.borrow())
        else {
            continue;
        };
        // Provisioning takes several requests. It is cancelled when the Lease is lost.
        let made = provisioner.reconcile(&gateways, &authority, SystemTime::now());
        let Some(report) = inputs.until.during(made).await else {
            tracing::info!("provisioning stopped: another controller is the leader");
            next = Instant::now() + pause.next();
            continue;
        };
        if report.problems.is_empty() {
            pause = Pause::up_to(PAUSE);
        } else {
            next = Instant::now() + pause.next();
        }
        for (gateway, problem) in report
            .problems
            .iter()
            .filter(|problem| !said.contains(*problem))
        {
            tracing::warn!(%gateway, problem, "objects of the Gateway cannot be provisioned completely");
        }
        said = report.problems;
    }
}
