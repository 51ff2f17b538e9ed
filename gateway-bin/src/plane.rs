//! The seam between this binary and the data plane.

use std::sync::Arc;
use std::time::Duration;

use towergate_core::access_log::AccessLog;
use towergate_core::observer::Observer;
use towergate_core::plan::{Endpoints, Plan};
use towergate_policy::Policy;

use crate::Failure;

/// What the control loop asks of a data plane.
pub(crate) trait DataPlane {
    /// Serves `plan` from now on. On an error, what was served before still is.
    fn apply(&self, plan: &Plan<Policy>) -> Result<(), Failure>;

    /// Replaces the addresses of all backends.
    fn set_endpoints(&self, endpoints: &Endpoints);

    /// Takes no new connections, and waits until the requests under way have ended, `deadline` at most.
    /// Whether they all did.
    fn drain(&self, deadline: Duration) -> impl Future<Output = bool>;
}

/// How a data plane is started.
pub(crate) struct Options {
    /// Threads that serve requests.
    pub(crate) workers: usize,
    /// Takes an entry for each request.
    pub(crate) access_log: Option<Arc<dyn AccessLog>>,
    /// Takes events.
    pub(crate) observer: Arc<dyn Observer>,
}

/// Starts the data plane.
///
/// # Errors
/// If its threads cannot be started.
pub(crate) fn start(options: Options) -> Result<Absent, Failure> {
    drop(options);
    Err("this build has no data plane".into())
}

/// The data plane of a build without one: there never is a value of it.
pub(crate) enum Absent {}

impl DataPlane for Absent {
    fn apply(&self, _plan: &Plan<Policy>) -> Result<(), Failure> {
        match *self {}
    }

    fn set_endpoints(&self, _endpoints: &Endpoints) {
        match *self {}
    }

    async fn drain(&self, _deadline: Duration) -> bool {
        match *self {}
    }
}
