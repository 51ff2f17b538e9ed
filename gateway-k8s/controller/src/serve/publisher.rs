//! The newest plan of each plane, and the reports of its data planes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use towergate_core::plan::{Endpoints, Plan};
use towergate_k8s::wire::{Outcome, Problem, Version, VersionReport, WireError};
use towergate_policy::Policy;

/// Publishes plans to connected data planes. Clones share their state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Publisher(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    planes: Mutex<BTreeMap<String, Arc<Plane>>>,
    reports: watch::Sender<Arc<Reports>>,
    /// The last version number. Never reused, not even for a plane that is created again.
    last_version: AtomicU64,
    next_id: AtomicU64,
}

/// A plane. One caller at a time encodes a new version; receivers are not blocked meanwhile.
#[derive(Debug, Default)]
struct Plane {
    publishing: Mutex<()>,
    newest: watch::Sender<Option<Version>>,
}

/// The reports of all planes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Reports {
    /// Reports by plane, for planes that have a plan or a connected data plane.
    pub(crate) planes: BTreeMap<String, PlaneReport>,
}

/// The report of a plane.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct PlaneReport {
    /// Newest version. `None`: nothing published yet, or the plane was removed.
    pub(crate) published: Option<u64>,
    /// Connected data planes by a unique number.
    pub(crate) data_planes: BTreeMap<u64, DataPlaneReport>,
}

/// The report of a connected data plane.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct DataPlaneReport {
    /// Name in the first message of the data plane: the name of its pod or host.
    pub(crate) name: String,
    /// Source address of the connection.
    pub(crate) address: SocketAddr,
    /// Version that the data plane serves. `None`: it has not served a version of this publisher.
    pub(crate) in_force: Option<u64>,
    /// The last version with a problem, and the problem: the version cannot be served, or an address cannot
    /// be bound.
    pub(crate) refused: Option<(u64, Problem)>,
}

impl PlaneReport {
    /// Whether at least one data plane is connected, and all connected data planes serve `version` or a newer
    /// version.
    #[cfg(test)]
    pub(crate) fn is_in_force(&self, version: u64) -> bool {
        let serves = |plane: &DataPlaneReport| plane.in_force.is_some_and(|it| it >= version);
        !self.data_planes.is_empty() && self.data_planes.values().all(serves)
    }

    /// The problem of the first data plane that reports a problem.
    pub(crate) fn problem(&self) -> Option<&Problem> {
        let refused = |plane: &'_ DataPlaneReport| plane.refused.is_some();
        let first = self.data_planes.values().find(|plane| refused(plane))?;
        first.refused.as_ref().map(|(_, problem)| problem)
    }
}

impl Publisher {
    /// Publishes a plan to the data planes of `plane`. Returns the version, which is the previous one if
    /// nothing has changed. Encoding a large plan takes some milliseconds.
    ///
    /// # Errors
    /// If the plan cannot be encoded. The previous version is kept.
    pub(crate) fn publish(
        &self,
        plane: &str,
        plan: Arc<Plan<Policy>>,
        endpoints: Arc<Endpoints>,
    ) -> Result<u64, WireError> {
        let (name, plane) = (plane, self.plane(plane));
        let _only = plane
            .publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = plane.newest.borrow().clone();
        let number = self.next_version();
        let version = Version::new(number, plan, endpoints, before.as_ref())?;
        if let Some(before) = before
            && before.is_same(&version)
        {
            return Ok(before.number());
        }
        plane.newest.send_replace(Some(version));
        self.note(name, |report| report.published = Some(number));
        Ok(number)
    }

    /// Removes a plane. Its connected data planes receive an empty plan.
    pub(crate) fn remove(&self, plane: &str) {
        let Some(removed) = self.planes().remove(plane) else {
            return;
        };
        let _only = removed
            .publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Ok(empty) = Version::new(self.next_version(), Arc::default(), Arc::default(), None) {
            removed.newest.send_replace(Some(empty));
        }
        self.note(plane, |report| report.published = None);
    }

    /// A receiver of the reports of data planes. Each value is complete; intermediate values may be skipped.
    pub(crate) fn reports(&self) -> watch::Receiver<Arc<Reports>> {
        self.0.reports.subscribe()
    }

    /// A receiver of the versions of a plane. `None`: nothing published yet. The receiver closes when the
    /// plane is removed.
    pub(super) fn subscribe(&self, plane: &str) -> watch::Receiver<Option<Version>> {
        self.plane(plane).newest.subscribe()
    }

    /// Records a data plane as connected until the returned value is dropped.
    pub(super) fn connect(&self, plane: &str, name: String, address: SocketAddr) -> Connected {
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let connected = DataPlaneReport {
            name,
            address,
            in_force: None,
            refused: None,
        };
        self.note(plane, |report| {
            report.data_planes.insert(id, connected);
        });
        Connected {
            publisher: self.clone(),
            plane: plane.to_owned(),
            id,
        }
    }

    fn next_version(&self) -> u64 {
        self.0.last_version.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn plane(&self, name: &str) -> Arc<Plane> {
        Arc::clone(self.planes().entry(name.to_owned()).or_default())
    }

    fn planes(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Plane>>> {
        self.0.planes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the report of a plane and notifies receivers.
    fn note(&self, plane: &str, change: impl FnOnce(&mut PlaneReport)) {
        self.0.reports.send_if_modified(|reports| {
            let mut now = Reports::clone(reports);
            let report = now.planes.entry(plane.to_owned()).or_default();
            change(report);
            if *report == PlaneReport::default() {
                now.planes.remove(plane);
            }
            let modified = now != **reports;
            *reports = Arc::new(now);
            modified
        });
    }
}

/// A connected data plane.
#[derive(Debug)]
pub(super) struct Connected {
    publisher: Publisher,
    plane: String,
    id: u64,
}

impl Connected {
    /// Records a report.
    pub(super) fn report(&self, said: VersionReport) {
        self.publisher.note(&self.plane, |report| {
            let Some(plane) = report.data_planes.get_mut(&self.id) else {
                return;
            };
            match said.outcome {
                Outcome::InForce => {
                    plane.in_force = Some(said.version);
                    plane.refused = None;
                }
                Outcome::Refused(problem) => plane.refused = Some((said.version, problem)),
            }
        });
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.publisher.note(&self.plane, |report| {
            report.data_planes.remove(&self.id);
        });
    }
}
