//! The interface between the control loop and the data plane.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use towergate_core::Gateway;
use towergate_core::access_log::AccessLog;
use towergate_core::gateway::Options;
use towergate_core::listen::BindError;
use towergate_core::observer::Observer;
use towergate_core::plan::{Endpoints, Plan};
use towergate_policy::Policy;

use crate::Failure;

/// The operations of a data plane that the control loop uses.
pub(crate) trait DataPlane {
    /// Serves `plan` from now on. On an error, the previous plan stays in service. An address that cannot be
    /// bound is an error.
    fn apply(&self, plan: &Plan<Policy>) -> Result<(), Failure>;

    /// Serves `plan` from now on, except on addresses that cannot be bound. Returns these addresses. On an
    /// error, the previous plan stays in service.
    fn apply_bindable(&self, plan: &Plan<Policy>) -> Result<Vec<BindError>, Failure>;

    /// Replaces the addresses of all backends.
    fn set_endpoints(&self, endpoints: &Endpoints);

    /// Stops accepting connections and waits at most `timeout` for requests in flight. Returns whether all of them
    /// completed.
    fn drain(&self, timeout: Duration) -> impl Future<Output = bool>;

    /// Number of open connections.
    fn connections(&self) -> usize;

    /// Duplicates of all listening sockets, for the next process.
    ///
    /// # Errors
    /// If the process has no free file descriptor.
    fn duplicate_sockets(&self) -> io::Result<Vec<OwnedFd>>;

    /// Stops accepting connections, because the next process accepts them.
    fn hand_over(&self);
}

/// Network options of the data plane.
#[derive(Debug)]
pub(crate) struct SocketSettings {
    /// Whether ports are shared with other processes.
    pub(crate) reuse_port: bool,
    /// Whether the listening sockets can be passed to the next process.
    pub(crate) hands_over: bool,
    /// Listening sockets of the previous process.
    pub(crate) inherited: Vec<OwnedFd>,
    /// Name servers; empty: those of the system.
    pub(crate) name_servers: Vec<SocketAddr>,
    /// Zone of this gateway; `None`: unknown.
    pub(crate) zone: Option<String>,
    /// Whether host names may have loopback and link-local addresses.
    pub(crate) local_names: bool,
}

/// Starts the worker threads of a data plane without a plan.
///
/// # Errors
/// If a thread cannot be started.
pub(crate) fn start(
    workers: usize,
    access_log: Option<Arc<dyn AccessLog>>,
    observer: Arc<dyn Observer>,
    settings: SocketSettings,
) -> Result<Gateway, Failure> {
    let mut options = Options::default().observer(observer);
    options.access_log = access_log;
    options.reuse_port = settings.reuse_port;
    options.keep_duplicates = settings.hands_over;
    options.name_servers = settings.name_servers;
    options.zone = settings.zone;
    options.local_names = settings.local_names;
    let gateway = Gateway::new(options);
    gateway.start(workers)?;
    gateway.inherit_sockets(settings.inherited)?;
    Ok(gateway)
}

impl DataPlane for Gateway {
    fn apply(&self, plan: &Plan<Policy>) -> Result<(), Failure> {
        Ok(Self::apply(self, plan)?)
    }

    fn apply_bindable(&self, plan: &Plan<Policy>) -> Result<Vec<BindError>, Failure> {
        Ok(Self::apply_bindable(self, plan)?)
    }

    fn set_endpoints(&self, endpoints: &Endpoints) {
        Self::set_endpoints(self, endpoints);
    }

    async fn drain(&self, timeout: Duration) -> bool {
        // The threads are not joined, because the process exits next.
        self.close_duplicates();
        let drain = Self::drain(self);
        drain.start();
        drain.drained(Instant::now() + timeout).await
    }

    fn connections(&self) -> usize {
        Self::drain(self).running()
    }

    fn duplicate_sockets(&self) -> io::Result<Vec<OwnedFd>> {
        Self::duplicate_sockets(self)
    }

    fn hand_over(&self) {
        Self::hand_over(self);
    }
}
