//! The control loop: when a burst of changes is over, everything is decided anew.
//!
//! ```text
//! events ──> World ──(burst over)──> addresses ──> resolve ──┬──> data planes
//!                                                            └──> statuses that differ (leader only)
//! ```
//!
//! Nothing here waits for the API server, so what data planes serve does not depend on whether statuses
//! can be written. Nothing is published before every kind was listed once: a route whose policy is not
//! known yet must not be served without it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use towergate_k8s::{Resolution, ResolveOptions, resolve};

use crate::metrics::Metrics;
use crate::notes::Notes;
use crate::ours;
use crate::planes::{Placement, Planes, Published, Verdicts};
use crate::pool::Role;
use crate::provision::GatewayToRun;
use crate::serve::Publisher;
use crate::settle::Burst;
use crate::status::{Answer, Said, Settled, Task, due, now};
use crate::watch::Event;
use crate::world::{Change, World};

/// Events that are taken in at a time.
const BATCH: usize = 256;

/// What the loop listens to, and whom it tells.
pub(crate) struct Channels {
    /// What the API server has.
    pub(crate) events: mpsc::Receiver<Event>,
    /// Whether we lead.
    pub(crate) leads: watch::Receiver<bool>,
    /// Statuses to write.
    pub(crate) due: watch::Sender<Vec<Task>>,
    /// Statuses that were written.
    pub(crate) answers: mpsc::UnboundedReceiver<Answer>,
    /// Whether what was made for Gateways is known.
    pub(crate) known: watch::Receiver<bool>,
    /// Counts the changes of what was made for Gateways.
    pub(crate) made: watch::Receiver<u64>,
    /// Gateways of which objects are to be made.
    pub(crate) to_run: watch::Sender<Option<Vec<GatewayToRun>>>,
}

/// The control loop.
pub(crate) struct Reconciler {
    controller: String,
    world: World,
    planes: Planes,
    published: Published,
    /// What was known of data planes when everything was decided.
    verdicts: Verdicts,
    metrics: Arc<Metrics>,
    notes: Notes,
    said: Said,
    settled: Settled,
    /// Everything was decided once.
    decided: bool,
}

/// What is to be done when a burst is over.
struct Pending {
    burst: Burst,
    change: Change,
}

impl Reconciler {
    /// A loop that has not seen anything yet.
    pub(crate) fn new(
        controller: String,
        planes: Planes,
        publisher: Publisher,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            controller,
            world: World::default(),
            planes,
            published: Published::new(publisher),
            verdicts: Verdicts::default(),
            metrics,
            notes: Notes::default(),
            said: Said::default(),
            settled: Settled::default(),
            decided: false,
        }
    }

    /// Runs until the watches end, which they do not.
    pub(crate) async fn run(mut self, mut channels: Channels) {
        let mut pending: Option<Pending> = None;
        let mut events = Vec::with_capacity(BATCH);
        let mut reports = self.published.reports();
        loop {
            let over = pending.as_ref().map(|pending| pending.burst.ends());
            let change = tokio::select! {
                biased;
                () = until(over) => {
                    if let Some(pending) = pending.take() {
                        self.decide(pending.change, &channels);
                    }
                    continue;
                }
                Ok(()) = channels.leads.changed() => Change::Objects,
                Ok(()) = channels.known.changed() => Change::Objects,
                Ok(()) = channels.made.changed() => Change::Objects,
                Ok(()) = reports.changed() => {
                    match Verdicts::of(&reports.borrow_and_update()) == self.verdicts {
                        true => Change::Nothing,
                        false => Change::Objects,
                    }
                }
                Some(answer) = channels.answers.recv() => {
                    self.settled.note(answer.id, answer.print, answer.status);
                    continue;
                }
                taken = channels.events.recv_many(&mut events, BATCH) => {
                    if taken == 0 {
                        return;
                    }
                    let leads = *channels.leads.borrow();
                    let change = events.drain(..).map(|event| self.take(event, leads)).max();
                    change.unwrap_or(Change::Nothing)
                }
            };
            if change == Change::Nothing {
                continue;
            }
            let now = Instant::now();
            let pending = pending.get_or_insert_with(|| Pending {
                burst: Burst::begin(now),
                change,
            });
            pending.burst.goes_on(now);
            pending.change = pending.change.max(change);
        }
    }

    fn take(&mut self, event: Event, leads: bool) -> Change {
        let gateway = event.kind.name == "Gateway";
        match self.world.take(event) {
            // Who does not lead learns the addresses of Gateways from their statuses.
            Change::Status if gateway && !leads => Change::Objects,
            change => change,
        }
    }

    /// Decides and tells. This may take a while at a time, so that it is not for a thread of many tasks.
    fn decide(&mut self, change: Change, channels: &Channels) {
        let leads = *channels.leads.borrow();
        self.metrics.set_leads(leads);
        for (kind, objects) in self.world.counts() {
            self.metrics.count_objects(kind, objects);
        }
        let mut missing: Vec<_> = self.world.missing().collect();
        // Otherwise Gateways would lose the addresses that they have, for a moment.
        missing.extend((!*channels.known.borrow()).then_some("what was made for Gateways"));
        if !missing.is_empty() {
            tracing::info!(?missing, "waiting for what the API server has");
            return;
        }
        tokio::task::block_in_place(|| {
            if change == Change::Objects || !self.decided {
                self.resolve(leads, &channels.to_run);
            }
            self.tell_statuses(leads, &channels.due);
        });
    }

    fn resolve(&mut self, leads: bool, to_run: &watch::Sender<Option<Vec<GatewayToRun>>>) {
        let began = Instant::now();
        let role = if leads { Role::Leader } else { Role::Follower };
        let claims = ours::claims(&self.world, &self.controller);
        self.verdicts = Verdicts::of(&self.published.reports().borrow());
        let placement = self.planes.place(&claims, role, &self.verdicts);
        self.metrics
            .set_without_address(claims.len() - placement.assigned.len());
        let scope = self.scope(&placement);
        // A fault in deciding must not end what works: it is as if nothing had changed.
        let resolved = catch_unwind(AssertUnwindSafe(|| resolve(self.world.objects(), &scope)));
        let Ok(resolution) = resolved else {
            tracing::error!(
                "deciding broke off: what was decided before stays until something changes"
            );
            return;
        };
        let Resolution {
            plan,
            endpoints,
            mut statuses,
            diagnostics,
        } = resolution;
        self.notes
            .tell(self.world.diagnostics().chain(&diagnostics));
        placement.mark(&mut statuses);
        let gateways = placement.to_run(self.world.objects(), &statuses, &self.controller);
        to_run.send_if_modified(|known| {
            let new = known.as_ref() != Some(&gateways);
            *known = Some(gateways);
            new
        });
        self.said = statuses.into();
        let plans = self.planes.split(plan, &placement);
        let kept = ours::classless(&self.world);
        self.published.tell(plans, &endpoints, &kept, &self.metrics);
        self.decided = true;
        self.metrics.resolved(began.elapsed());
        tracing::debug!(took = ?began.elapsed(), leads, "decided");
    }

    fn scope(&self, placement: &Placement) -> ResolveOptions {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since
            .ok()
            .and_then(|since| i64::try_from(since.as_secs()).ok());
        ResolveOptions {
            controller_name: self.controller.clone(),
            serve_unclassed: false,
            bind_gateway: placement.bind.clone(),
            assigned: Some(placement.assigned.clone()),
            ports: placement.ports.clone(),
            reserved: placement.reserved.clone(),
            now,
            ..ResolveOptions::default()
        }
    }

    fn tell_statuses(&mut self, leads: bool, sender: &watch::Sender<Vec<Task>>) {
        let tasks = match leads {
            true => due(
                &self.world,
                &self.said,
                &self.controller,
                &mut self.settled,
                &now(),
            ),
            false => Vec::new(),
        };
        self.metrics.set_due(tasks.len());
        if !tasks.is_empty() || !sender.borrow().is_empty() {
            sender.send_replace(tasks);
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
