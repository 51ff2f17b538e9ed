//! Has the objects of Gateways made, beside the control loop: it waits for the API server, and the loop
//! does not.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::lease::Leads;
use crate::provision::{GatewayToRun, Provisioner};
use crate::serve::Authority;
use crate::watch::Pause;

/// Changes within this time are one.
const QUIET: Duration = Duration::from_millis(100);
/// The longest pause after a failure.
const PAUSE: Duration = Duration::from_secs(30);
/// Even if nothing happens: credentials come of age.
const PERIOD: Duration = Duration::from_secs(600);

/// What the runner listens to.
pub(crate) struct Inputs {
    /// What there should be; `None`: nothing was decided yet.
    pub(crate) gateways: watch::Receiver<Option<Vec<GatewayToRun>>>,
    /// Who signs credentials; `None`: not known yet.
    pub(crate) authority: watch::Receiver<Option<Arc<Authority>>>,
    /// Whether we lead: others make nothing.
    pub(crate) leads: watch::Receiver<bool>,
    /// Until when we lead.
    pub(crate) until: Leads,
}

/// Runs for ever. `known` becomes true when everything that was made before is known.
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
        // It is a long way: whoever loses the Lease stops where it is.
        let made = provisioner.reconcile(&gateways, &authority, SystemTime::now());
        let Some(report) = inputs.until.during(made).await else {
            tracing::info!("what is made for Gateways is left to another leader");
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
            tracing::warn!(%gateway, problem, "not all objects of a Gateway are as they should be");
        }
        said = report.problems;
    }
}
