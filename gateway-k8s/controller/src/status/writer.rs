//! Writes statuses: several objects in parallel, one write per object at a time, with retries.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::due::current;
use super::merge::{merge, patch};
use super::{Id, Task};
use crate::lease::Leads;
use crate::metrics::{Metrics, WriteResult};
use crate::object_cache::ObservedObject;
use crate::watch::{Pause, resource};

/// Maximum number of parallel requests.
const AT_ONCE: usize = 16;
/// Number of conflicts of one task after which the task fails and is retried later.
const CONFLICTS: usize = 4;
/// Time limit of a request.
const REQUEST: Duration = Duration::from_secs(10);
/// Upper bound of the pause between two attempts. A rejected status is rarely accepted soon afterwards.
const PAUSE: Duration = Duration::from_secs(30);
/// Field manager of writes.
const MANAGER: &str = "towergate-controller";

/// The notification of a stored status.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The object.
    pub(crate) id: Id,
    /// Hash of the desired status ([`Task::print`]).
    pub(crate) print: u64,
    /// Stored status.
    pub(crate) status: Option<Arc<str>>,
}

/// Writes due statuses.
pub(crate) struct Writer {
    client: Client,
    controller: String,
    leads: Leads,
    metrics: Arc<Metrics>,
    answers: mpsc::UnboundedSender<Answer>,
    pending: BTreeMap<Id, Task>,
    wanted: Wanted,
    running: HashSet<Id>,
    /// Time of the next attempt and backoff of objects whose last write failed.
    failed: HashMap<Id, (Instant, Pause)>,
    /// Objects as the last write returned them. An entry is kept until the watch delivers the object.
    made: HashMap<Id, (String, ObservedObject)>,
    writes: JoinSet<(Task, Outcome)>,
}

/// The hashes of all due statuses, whether pending or in progress.
#[derive(Clone, Debug, Default)]
struct Wanted(Arc<Mutex<HashMap<Id, u64>>>);

impl Wanted {
    fn lock(&self) -> MutexGuard<'_, HashMap<Id, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, task: &Task) -> bool {
        self.lock().get(&task.id) == Some(&task.print)
    }
}

/// The result of a task.
enum Outcome {
    /// The status is stored.
    Done(ObservedObject),
    /// The object was deleted or has changed. The next resolution determines its status.
    Obsolete,
    /// This controller lost the leadership.
    Deposed,
    /// The write failed.
    Failed(kube::Error),
}

impl Writer {
    /// Starts a writer. Each list of due statuses replaces the previous one.
    pub(crate) fn start(
        client: Client,
        controller: String,
        leads: Leads,
        metrics: Arc<Metrics>,
    ) -> (
        watch::Sender<Vec<Task>>,
        mpsc::UnboundedReceiver<Answer>,
        JoinHandle<()>,
    ) {
        let (answers, answered) = mpsc::unbounded_channel();
        let (sender, due) = watch::channel(Vec::new());
        let writer = Self {
            client,
            controller,
            leads,
            metrics,
            answers,
            pending: BTreeMap::new(),
            wanted: Wanted::default(),
            running: HashSet::new(),
            failed: HashMap::new(),
            made: HashMap::new(),
            writes: JoinSet::new(),
        };
        let running = tokio::spawn(writer.run(due));
        (sender, answered, running)
    }

    async fn run(mut self, mut due: watch::Receiver<Vec<Task>>) {
        loop {
            self.begin_writes();
            let again = self.failed.values().map(|(at, _)| *at).min();
            tokio::select! {
                changed = due.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let tasks = due.borrow_and_update().clone();
                    self.take(tasks);
                }
                Some(ended) = self.writes.join_next() => match ended {
                    Ok((task, outcome)) => self.ended(task, outcome),
                    Err(error) => tracing::error!(%error, "a status write panicked"),
                },
                () = self.leads.changed() => {
                    // This controller stopped leading, so the new leader writes the statuses.
                    if !self.leads.now() {
                        self.take(Vec::new());
                    }
                }
                () = sleep_until(again) => {}
            }
        }
    }

    /// Replaces the list of due statuses.
    fn take(&mut self, tasks: Vec<Task>) {
        let wanted = tasks.iter().map(|task| (task.id.clone(), task.print));
        *self.wanted.lock() = wanted.collect();
        self.pending = tasks
            .into_iter()
            .map(|task| (task.id.clone(), task))
            .collect();
        let pending = &self.pending;
        self.failed.retain(|id, _| pending.contains_key(id));
        self.made.retain(|id, (before, _)| {
            pending
                .get(id)
                .is_some_and(|task| task.observed.version == *before)
        });
    }

    fn begin_writes(&mut self) {
        if !self.leads.now() {
            return;
        }
        let now = Instant::now();
        let free = AT_ONCE.saturating_sub(self.running.len());
        let waits = |id: &Id| self.failed.get(id).is_some_and(|(at, _)| *at > now);
        let next = self.pending.keys();
        let next = next.filter(|id| !self.running.contains(*id) && !waits(id));
        let next: Vec<Id> = next.take(free).cloned().collect();
        for id in next {
            let Some(mut task) = self.pending.remove(&id) else {
                continue;
            };
            if let Some((before, made)) = self.made.get(&id)
                && *before == task.observed.version
            {
                task.observed = made.clone();
            }
            // A completed sleep must not be polled again, so the next attempt is scheduled after the end of
            // this request.
            if let Some((at, _)) = self.failed.get_mut(&id) {
                *at = now + REQUEST * 2;
            }
            self.running.insert(id);
            let (client, controller) = (self.client.clone(), self.controller.clone());
            let metrics = Arc::clone(&self.metrics);
            let (leads, wanted) = (self.leads.clone(), self.wanted.clone());
            self.writes.spawn(async move {
                let may = || match (leads.now(), wanted.has(&task)) {
                    (true, true) => Ok(()),
                    (true, false) => Err(Outcome::Obsolete),
                    (false, _) => Err(Outcome::Deposed),
                };
                let outcome = write(&client, &controller, &task, &metrics, may).await;
                (task, outcome)
            });
        }
    }

    fn ended(&mut self, task: Task, outcome: Outcome) {
        self.running.remove(&task.id);
        match outcome {
            Outcome::Done(observed) => {
                self.failed.remove(&task.id);
                let answer = Answer {
                    id: task.id.clone(),
                    print: task.print,
                    status: observed.status.clone(),
                };
                // The receiver is dropped at shutdown.
                let _ = self.answers.send(answer);
                self.made.insert(task.id, (task.observed.version, observed));
            }
            Outcome::Obsolete => {
                self.failed.remove(&task.id);
            }
            // The task is kept: if the loss of leadership is transient, the status is written after the next
            // renewal.
            Outcome::Deposed => self.again(task),
            Outcome::Failed(error) => {
                self.metrics.status_written(WriteResult::Failed);
                let pause = self.failed.remove(&task.id).map(|(_, pause)| pause);
                let mut pause = pause.unwrap_or_else(|| Pause::up_to(PAUSE));
                let wait = pause.next();
                let (kind, object) = (task.id.kind().name, &task.id.object);
                tracing::warn!(kind, %object, %error, again_in = ?wait, "status could not be written");
                self.failed
                    .insert(task.id.clone(), (Instant::now() + wait, pause));
                self.again(task);
            }
        }
    }

    /// Schedules another attempt if the status is still due.
    fn again(&mut self, task: Task) {
        if self.wanted.has(&task) {
            self.pending.entry(task.id.clone()).or_insert(task);
        } else if !self.pending.contains_key(&task.id) {
            self.failed.remove(&task.id);
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Writes one status to the API server. `may` is checked before each request.
async fn write(
    client: &Client,
    controller: &str,
    task: &Task,
    metrics: &Metrics,
    may: impl Fn() -> Result<(), Outcome>,
) -> Outcome {
    let kind = task.id.kind();
    let resource = resource(kind, task.version);
    let (client, name) = (client.clone(), task.id.object.name.as_str());
    let api: Api<DynamicObject> = match kind.namespaced {
        true => Api::namespaced_with(client, &task.id.object.namespace, &resource),
        false => Api::all_with(client, &resource),
    };
    let mut observed = task.observed.clone();
    let mut conflict = None;
    for _ in 0..CONFLICTS {
        let before = current(&observed);
        let now = now();
        let desired = task.desired.as_ref();
        let Some(merged) = merge(kind.status, controller, before.as_ref(), desired, &now) else {
            return Outcome::Done(observed);
        };
        let body = json!({
            "metadata": {"resourceVersion": observed.version, "uid": observed.uid},
            "status": patch(before.as_ref(), &merged),
        });
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        if let Err(outcome) = may() {
            return outcome;
        }
        let sent = within(api.patch_status(name, &parameters, &Patch::Merge(&body))).await;
        match sent {
            Ok(object) => {
                metrics.status_written(WriteResult::Written);
                return Outcome::Done(observe(&object));
            }
            Err(error) => match code(&error) {
                Some(404) => return Outcome::Obsolete,
                Some(409) => {
                    metrics.status_written(WriteResult::Conflict);
                    conflict = Some(error);
                }
                _ => return Outcome::Failed(error),
            },
        }
        if let Err(outcome) = may() {
            return outcome;
        }
        match within(api.get(name)).await {
            Ok(fresh) => {
                let fresh = observe(&fresh);
                // The object was replaced or its spec has changed. The next resolution determines its status.
                if fresh.uid != observed.uid || fresh.generation != observed.generation {
                    return Outcome::Obsolete;
                }
                observed = fresh;
            }
            Err(error) if code(&error) == Some(404) => return Outcome::Obsolete,
            Err(error) => return Outcome::Failed(error),
        }
    }
    conflict.map_or(Outcome::Obsolete, Outcome::Failed)
}

/// Awaits the response to a request, with a time limit.
async fn within<T>(request: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    match tokio::time::timeout(REQUEST, request).await {
        Ok(answer) => answer,
        Err(late) => Err(kube::Error::Service(Box::new(late))),
    }
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

fn observe(object: &DynamicObject) -> ObservedObject {
    let status = object
        .data
        .get("status")
        .filter(|status| !Value::is_null(status));
    ObservedObject {
        uid: object.uid().unwrap_or_default(),
        version: object.resource_version().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or(1),
        status: status.map(|status| status.to_string().into()),
    }
}

/// The current time in RFC 3339 with whole seconds, as the API server stores it.
pub(crate) fn now() -> String {
    let now = k8s_openapi::jiff::Timestamp::now();
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests;
