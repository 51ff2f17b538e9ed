//! The seam between this binary and the data plane.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use towergate_core::Gateway;
use towergate_core::access_log::AccessLog;
use towergate_core::gateway::Options;
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

    /// How many connections there are.
    fn running(&self) -> usize;
}

/// Starts the data plane: threads that serve, and nothing to serve yet.
///
/// # Errors
/// If its threads cannot be started.
pub(crate) fn start(
    workers: usize,
    access_log: Option<Arc<dyn AccessLog>>,
    observer: Arc<dyn Observer>,
) -> Result<Gateway, Failure> {
    let mut options = Options::default().observer(observer);
    options.access_log = access_log;
    let gateway = Gateway::new(options);
    gateway.start(workers)?;
    Ok(gateway)
}

impl DataPlane for Gateway {
    fn apply(&self, plan: &Plan<Policy>) -> Result<(), Failure> {
        Ok(Self::apply(self, plan)?)
    }

    fn set_endpoints(&self, endpoints: &Endpoints) {
        Self::set_endpoints(self, endpoints);
    }

    async fn drain(&self, deadline: Duration) -> bool {
        // The threads are not joined: the process ends next, and takes them with it.
        let drain = Self::drain(self);
        drain.start();
        drain.drained(Instant::now() + deadline).await
    }

    fn running(&self) -> usize {
        Self::drain(self).running()
    }
}
