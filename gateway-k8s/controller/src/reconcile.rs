//! The control loop: resolves all objects after each burst of changes.
//!
//! ```text
//! events ──> ObjectCache ──(burst over)──> addresses ──> resolve ──┬──> data planes
//!                                                            └──> changed statuses (leader only)
//! ```
//!
//! The loop does not block on the API server, so data planes receive plans even if statuses cannot
//! be written. No plan is published before every kind has been listed once, because a route must
//! not be served without its policy.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use towergate_k8s::status::StatusKey;
use towergate_k8s::{ObjectKey, Resolution, ResolveOptions, Statuses, resolve};

use crate::address_pool::Role;
use crate::debounce::Debounce;
use crate::diagnostics_log::DiagnosticsLog;
use crate::ingress_writer::{IngressId, IngressWrites};
use crate::ingresses::{IngressOptions, Ingresses, load_balancer};
use crate::metrics::Metrics;
use crate::object_cache::{Change, ObjectCache};
use crate::ownership;
use crate::planes::{Placement, Planes, Published, Verdicts};
use crate::provision::GatewayToRun;
use crate::serve::Publisher;
use crate::status::{Answer, DesiredStatuses, LastWritten, Task, due, now};
use crate::watch::Event;

/// Maximum number of events per batch.
const BATCH: usize = 256;

/// The inputs and outputs of the loop.
pub(crate) struct Channels {
    /// Events of the watches.
    pub(crate) events: mpsc::Receiver<Event>,
    /// Whether this controller is the leader.
    pub(crate) leads: watch::Receiver<bool>,
    /// Statuses to write.
    pub(crate) due: watch::Sender<Vec<Task>>,
    /// Notifications of written statuses.
    pub(crate) answers: mpsc::UnboundedReceiver<Answer>,
    /// Whether the provisioned objects have been listed.
    pub(crate) known: watch::Receiver<bool>,
    /// Number of changes of provisioned objects.
    pub(crate) made: watch::Receiver<u64>,
    /// Gateways to provision.
    pub(crate) to_run: watch::Sender<Option<Vec<GatewayToRun>>>,
    /// The Gateway and the Events of Ingresses.
    pub(crate) of_ingresses: watch::Sender<IngressWrites>,
}

/// The control loop.
pub(crate) struct Reconciler {
    /// The options that do not depend on objects.
    options: ResolveOptions,
    world: ObjectCache,
    planes: Planes,
    published: Published,
    /// Verdicts of data planes at the last resolution.
    verdicts: Verdicts,
    metrics: Arc<Metrics>,
    diagnostics_log: DiagnosticsLog,
    desired: DesiredStatuses,
    last_written: LastWritten,
    /// Whether a resolution has completed.
    decided: bool,
}

/// The work at the end of a burst.
struct Pending {
    burst: Debounce,
    change: Change,
}

impl Reconciler {
    /// Creates a loop that has received no events.
    pub(crate) fn new(
        options: ResolveOptions,
        ingresses: Option<IngressOptions>,
        planes: Planes,
        publisher: Publisher,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            options,
            world: ObjectCache::with_ingresses(ingresses),
            planes,
            published: Published::new(publisher),
            verdicts: Verdicts::default(),
            metrics,
            diagnostics_log: DiagnosticsLog::default(),
            desired: DesiredStatuses::default(),
            last_written: LastWritten::default(),
            decided: false,
        }
    }

    /// Runs until the channel of events closes, at the end of the process.
    pub(crate) async fn run(mut self, mut channels: Channels) {
        let mut pending: Option<Pending> = None;
        let mut events = Vec::with_capacity(BATCH);
        let mut reports = self.published.reports();
        loop {
            let over = pending.as_ref().map(|pending| pending.burst.deadline());
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
                    self.last_written.note(answer.id, answer.print, answer.status);
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
                burst: Debounce::begin(now),
                change,
            });
            pending.burst.add_change(now);
            pending.change = pending.change.max(change);
        }
    }

    fn take(&mut self, event: Event, leads: bool) -> Change {
        let gateway = event.kind.name == "Gateway";
        match self.world.take(event) {
            // Followers read the addresses of Gateways from their statuses.
            Change::Status if gateway && !leads => Change::Objects,
            change => change,
        }
    }

    /// Resolves and publishes. Blocks the thread while it resolves.
    fn decide(&mut self, change: Change, channels: &Channels) {
        let leads = *channels.leads.borrow();
        self.metrics.set_leads(leads);
        for (kind, objects) in self.world.counts() {
            self.metrics.count_objects(kind, objects);
        }
        let mut missing: Vec<_> = self.world.missing().collect();
        // Until the provisioned objects are listed, Gateways would have no address.
        missing.extend((!*channels.known.borrow()).then_some("provisioned objects"));
        if !missing.is_empty() {
            tracing::info!(?missing, "waiting for the first lists of the API server");
            return;
        }
        tokio::task::block_in_place(|| {
            if change == Change::Objects || !self.decided {
                self.resolve(leads, channels);
            }
            self.tell_statuses(leads, &channels.due);
        });
    }

    fn resolve(&mut self, leads: bool, channels: &Channels) {
        let began = Instant::now();
        self.world.translate_ingresses();
        self.tell_ingresses(&channels.of_ingresses);
        let role = if leads { Role::Leader } else { Role::Follower };
        let claims = ownership::claims(&self.world, &self.options.controller_name);
        self.verdicts = Verdicts::of(&self.published.reports().borrow());
        let mut placement = self.planes.place(&claims, role, &self.verdicts);
        placement.set_families(self.world.objects());
        self.metrics
            .set_without_address(claims.len() - placement.assigned.len());
        let scope = self.scope(&placement);
        // After a panic in `resolve`, the last plans stay published.
        let resolved = catch_unwind(AssertUnwindSafe(|| resolve(self.world.objects(), &scope)));
        let Ok(resolution) = resolved else {
            tracing::error!(
                "resolution panicked; the last plans stay in service until the next change"
            );
            return;
        };
        let Resolution {
            plan,
            endpoints,
            mut statuses,
            diagnostics,
        } = resolution;
        let of_ingresses = self.world.ingresses().map(Ingresses::findings);
        let of_ingresses = of_ingresses.into_iter().flatten();
        self.diagnostics_log.log_new(
            self.world
                .diagnostics()
                .chain(&diagnostics)
                .chain(of_ingresses),
        );
        placement.mark(&mut statuses);
        let gateways = placement.to_run(
            self.world.objects(),
            &statuses,
            &self.options.controller_name,
        );
        channels.to_run.send_if_modified(|known| {
            let new = known.as_ref() != Some(&gateways);
            *known = Some(gateways);
            new
        });
        self.add_ingress_statuses(&mut statuses);
        self.desired = statuses.into();
        let plans = self.planes.split(plan, &placement);
        let kept = ownership::classless(&self.world);
        self.published
            .publish(plans, &endpoints, &kept, &self.metrics);
        self.decided = true;
        self.metrics.resolved(began.elapsed());
        tracing::debug!(took = ?began.elapsed(), leads, "resolved");
    }

    /// The identity of an Ingress, to which its Events refer.
    fn ingress_id(&self, key: ObjectKey) -> IngressId {
        let observed = self.world.observed("Ingress", &key);
        let uid = observed.map(|ingress| ingress.uid.clone());
        IngressId {
            key,
            uid: uid.unwrap_or_default(),
        }
    }

    /// Passes the Gateway and the Events of Ingresses to their writer.
    fn tell_ingresses(&self, writes: &watch::Sender<IngressWrites>) {
        let Some(ingresses) = self.world.ingresses() else {
            return;
        };
        for (outcome, count) in ingresses.outcomes() {
            self.metrics.count_ingress_settings(outcome.as_str(), count);
        }
        let observed = self.world.observed("Gateway", ingresses.gateway_key());
        let new = IngressWrites {
            gateway: ingresses.gateway().cloned(),
            observed: observed.map(|gateway| (gateway.uid.clone(), gateway.generation)),
            impossible: ingresses
                .impossible()
                .into_iter()
                .map(|(key, settings)| (self.ingress_id(key), settings))
                .collect(),
        };
        writes.send_if_modified(|known| {
            let changed = *known != new;
            *known = new;
            changed
        });
    }

    /// Adds the statuses of Ingresses: the addresses of their Gateway.
    fn add_ingress_statuses(&self, statuses: &mut Statuses) {
        let Some(ingresses) = self.world.ingresses() else {
            return;
        };
        let gateway = StatusKey::new("Gateway", ingresses.gateway_key().clone());
        let Some(status) = statuses.0.get(&gateway) else {
            return;
        };
        let status = load_balancer(status);
        for ingress in ingresses.served() {
            let key = StatusKey::new("Ingress", ingress.clone());
            statuses.0.insert(key, status.clone());
        }
    }

    fn scope(&self, placement: &Placement) -> ResolveOptions {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since
            .ok()
            .and_then(|since| i64::try_from(since.as_secs()).ok());
        ResolveOptions {
            bind_gateway: placement.bind.clone(),
            assigned: Some(placement.assigned.clone()),
            ports: placement.ports.clone(),
            reserved: placement.reserved.clone(),
            now,
            ..self.options.clone()
        }
    }

    fn tell_statuses(&mut self, leads: bool, sender: &watch::Sender<Vec<Task>>) {
        let tasks = match leads {
            true => due(
                &self.world,
                &self.desired,
                &self.options.controller_name,
                &mut self.last_written,
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
