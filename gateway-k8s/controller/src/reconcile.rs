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

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use towergate_core::plan::{Endpoints, Plan};
use towergate_k8s::{Resolution, Scope, resolve};
use towergate_policy::Policy;

use crate::metrics::Metrics;
use crate::notes::Notes;
use crate::ours;
use crate::planes::{Publish, SHARED};
use crate::pool::{Pool, Role};
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
}

/// The control loop.
pub(crate) struct Reconciler<P> {
    controller: String,
    world: World,
    pool: Pool,
    planes: P,
    metrics: Arc<Metrics>,
    notes: Notes,
    said: Said,
    settled: Settled,
    plan: Arc<Plan<Policy>>,
    endpoints: Arc<Endpoints>,
    published: bool,
}

/// What is to be done when a burst is over.
struct Pending {
    burst: Burst,
    change: Change,
}

impl<P: Publish> Reconciler<P> {
    /// A loop that has not seen anything yet.
    pub(crate) fn new(controller: String, pool: Pool, planes: P, metrics: Arc<Metrics>) -> Self {
        Self {
            controller,
            world: World::default(),
            pool,
            planes,
            metrics,
            notes: Notes::default(),
            said: Said::default(),
            settled: Settled::default(),
            plan: Arc::default(),
            endpoints: Arc::default(),
            published: false,
        }
    }

    /// Runs until the watches end, which they do not.
    pub(crate) async fn run(mut self, mut channels: Channels) {
        let mut pending: Option<Pending> = None;
        let mut events = Vec::with_capacity(BATCH);
        loop {
            let over = pending.as_ref().map(|pending| pending.burst.ends());
            let change = tokio::select! {
                biased;
                () = until(over) => {
                    if let Some(pending) = pending.take() {
                        let leads = *channels.leads.borrow_and_update();
                        self.decide(pending.change, leads, &channels.due);
                    }
                    continue;
                }
                Ok(()) = channels.leads.changed() => Change::Objects,
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
    fn decide(&mut self, change: Change, leads: bool, due: &watch::Sender<Vec<Task>>) {
        self.metrics.set_leads(leads);
        for (kind, objects) in self.world.counts() {
            self.metrics.count_objects(kind, objects);
        }
        if !self.world.complete() {
            let missing: Vec<_> = self.world.missing().collect();
            tracing::info!(
                ?missing,
                "waiting for what the API server has of these kinds"
            );
            return;
        }
        tokio::task::block_in_place(|| {
            if change == Change::Objects || !self.published {
                self.resolve(leads);
            }
            self.tell_statuses(leads, due);
        });
    }

    fn resolve(&mut self, leads: bool) {
        let began = Instant::now();
        let role = if leads { Role::Leader } else { Role::Follower };
        let claims = ours::claims(&self.world, &self.controller);
        let mut bind = self.pool.assign(&claims, role);
        let addresses: HashSet<IpAddr> = bind.values().flatten().copied().collect();
        let without: Vec<_> = claims
            .iter()
            .filter(|claim| !bind.contains_key(&claim.gateway))
            .collect();
        self.metrics.set_without_address(without.len());
        // A Gateway without an address must not be bound to any; each gets one where nobody is.
        for (at, claim) in (0..).zip(without) {
            bind.insert(claim.gateway.clone(), vec![nowhere(at)]);
        }
        let scope = self.scope(bind);
        let Resolution {
            mut plan,
            endpoints,
            statuses,
            diagnostics,
        } = resolve(self.world.objects(), &scope);
        let bound = |address: &IpAddr| addresses.contains(address);
        plan.ports.retain(|port| port.addresses.iter().all(bound));
        plan.datagrams
            .retain(|port| port.addresses.iter().all(bound));
        self.metrics.resolved(began.elapsed());
        self.notes
            .tell(self.world.diagnostics().chain(&diagnostics));
        self.said = statuses.into();
        self.publish(plan, endpoints);
        tracing::debug!(took = ?began.elapsed(), leads, "resolved");
    }

    fn scope(&self, bind_gateway: BTreeMap<String, Vec<IpAddr>>) -> Scope {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Scope {
            controller_name: self.controller.clone(),
            serve_unclassed: false,
            bind_gateway,
            now: i64::try_from(since.as_secs()).ok(),
            ..Scope::default()
        }
    }

    fn publish(&mut self, mut plan: Plan<Policy>, endpoints: Endpoints) {
        plan.share(&self.plan);
        if self.published && plan == *self.plan && endpoints == *self.endpoints {
            return;
        }
        if plan != *self.plan {
            self.plan = Arc::new(plan);
        }
        if endpoints != *self.endpoints {
            self.endpoints = Arc::new(endpoints);
        }
        self.published = true;
        self.metrics.published();
        let (plan, endpoints) = (Arc::clone(&self.plan), Arc::clone(&self.endpoints));
        self.planes.publish(SHARED, plan, endpoints);
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

/// An address at which nothing is reached (RFC 1112, section 4: class E).
fn nowhere(at: u32) -> IpAddr {
    const CLASS_E: u32 = 0xF000_0000;
    Ipv4Addr::from(CLASS_E + at % 0x0FFF_FFFF).into()
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
