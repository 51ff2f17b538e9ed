//! The control loop: brings the configurations of a source into service.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use towergate_core::listen::BindError;
use towergate_core::plan::{Endpoints, Plan};
use towergate_policy::Policy;

use crate::Failure;
use crate::admin::Admin;
use crate::data_plane::DataPlane;
use crate::listen_error;
use crate::metrics::Metrics;
use crate::time::unix_seconds;

/// The configuration to serve.
#[derive(Clone, Debug, Default)]
pub(crate) struct Desired {
    /// The plan.
    pub(crate) plan: Arc<Plan<Policy>>,
    /// The addresses of the backends of `plan`.
    pub(crate) endpoints: Arc<Endpoints>,
}

/// The configuration that a source starts with.
pub(crate) enum Initial {
    /// A configuration without which the program cannot start.
    Required(Desired),
    /// A configuration from before a restart. The program also starts if this configuration cannot be served.
    Resumed(Desired),
    /// No configuration yet.
    Pending,
}

/// The result of bringing a configuration into service.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Whether plan, endpoints or unbound addresses have changed.
    pub(crate) changed: bool,
    /// Addresses that cannot be bound. Everything else is in service.
    pub(crate) unbound: Vec<BindError>,
}

/// A source of configurations.
pub(crate) trait Source {
    /// Whether the program has the flags `--port`, `--bind` and `--reuse-port`.
    const HAS_PORT_FLAGS: bool;

    /// Returns the initial configuration.
    ///
    /// # Errors
    /// If the source can never provide a configuration.
    fn start(&mut self) -> Result<Initial, Failure>;

    /// Waits for a configuration. Cancel safe.
    fn next(&mut self) -> impl Future<Output = Desired>;

    /// Reads the source again at the request of the user.
    fn reload(&mut self) -> Option<Desired>;

    /// Receives the result of the last configuration. An error is the reason why the previous configuration
    /// stays in service.
    fn report(&mut self, outcome: &Result<Applied, Failure>);
}

/// Brings configurations into service on a data plane.
pub(crate) struct Control<D> {
    data_plane: D,
    admin: Arc<Admin>,
    metrics: Arc<Metrics>,
    /// In service.
    current: Desired,
    /// Addresses of `current` that could not be bound, with the last message.
    unbound: BTreeMap<SocketAddr, String>,
}

impl<D: DataPlane> Control<D> {
    /// A control loop without a configuration in service.
    pub(crate) fn new(data_plane: D, admin: Arc<Admin>, metrics: Arc<Metrics>) -> Self {
        Self {
            data_plane,
            admin,
            metrics,
            current: Desired::default(),
            unbound: BTreeMap::new(),
        }
    }

    /// The plan in service.
    pub(crate) fn plan(&self) -> &Plan<Policy> {
        &self.current.plan
    }

    /// The data plane.
    pub(crate) fn data_plane(&self) -> &D {
        &self.data_plane
    }

    /// Brings the initial configuration of `source` into service.
    ///
    /// # Errors
    /// If the source has no configuration, or its required configuration cannot be served on all addresses.
    pub(crate) fn start<S: Source>(&mut self, source: &mut S) -> Result<(), Failure> {
        match source.start()? {
            Initial::Required(desired) => {
                let plan = Arc::clone(&desired.plan);
                let applied = self.apply_with(desired, |data_plane, plan| {
                    data_plane.apply(plan).map(|()| Vec::new())
                });
                let with_advice =
                    |error| listen_error::with_advice(error, &plan, S::HAS_PORT_FLAGS);
                applied.map(|_| ()).map_err(with_advice)
            }
            Initial::Resumed(desired) => {
                self.serve(desired, source);
                Ok(())
            }
            Initial::Pending => Ok(()),
        }
    }

    /// Brings `desired` into service and reports the result to `source`. Addresses that cannot be bound are
    /// logged and omitted. Returns whether anything changed or `desired` was rejected.
    pub(crate) fn serve<S: Source>(&mut self, desired: Desired, source: &mut S) -> bool {
        let mut outcome = self.apply_with(desired, D::apply_bindable);
        match &mut outcome {
            Ok(applied) => applied.changed |= self.log_unbound(&applied.unbound, S::HAS_PORT_FLAGS),
            Err(error) => {
                self.metrics.config.rejected.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "configuration rejected; the previous configuration stays in service");
            }
        }
        source.report(&outcome);
        outcome.map_or(true, |applied| applied.changed)
    }

    fn apply_with(
        &mut self,
        desired: Desired,
        apply: impl FnOnce(&D, &Plan<Policy>) -> Result<Vec<BindError>, Failure>,
    ) -> Result<Applied, Failure> {
        let Desired { plan, endpoints } = desired;
        let new_endpoints = *endpoints != *self.current.endpoints;
        // Endpoints are applied first, so that the backends of new routes have endpoints.
        if new_endpoints {
            self.data_plane.set_endpoints(&endpoints);
            self.current.endpoints = endpoints;
            self.show();
        }
        let counts = &self.metrics.config;
        let first = counts.applied.load(Ordering::Relaxed) == 0;
        // Parts that equal those of the previous plan are shared, so they are stored and built only once.
        let mut plan = Arc::unwrap_or_clone(plan);
        plan.share(&self.current.plan);
        let new_plan = first || plan != *self.current.plan;
        if !new_plan && self.unbound.is_empty() {
            return Ok(Applied {
                changed: new_endpoints,
                unbound: Vec::new(),
            });
        }
        let unbound = apply(&self.data_plane, &plan)?;
        if new_plan {
            self.record(plan);
        }
        Ok(Applied {
            changed: new_endpoints || new_plan,
            unbound,
        })
    }

    /// Records that `plan` is in service.
    fn record(&mut self, plan: Plan<Policy>) {
        let counts = &self.metrics.config;
        counts.note_ports(&plan.ports);
        counts.note_stat_names(&plan.ports);
        self.current.plan = Arc::new(plan);
        let version = counts.applied.fetch_add(1, Ordering::Relaxed) + 1;
        let now = unix_seconds(SystemTime::now());
        counts
            .applied_at
            .store(u64::try_from(now).unwrap_or(0), Ordering::Relaxed);
        let (listeners, routes) = size(&self.current.plan);
        tracing::info!(version, listeners, routes, "in service");
        self.show();
        self.admin.set_ready(true);
    }

    /// Logs addresses that became unbound or bound. Returns whether there was a change.
    fn log_unbound(&mut self, errors: &[BindError], port_flags: bool) -> bool {
        let describe = |error: &BindError| {
            let text = listen_error::describe(error, &self.current.plan, port_flags);
            (error.address, text)
        };
        let unbound: BTreeMap<_, _> = errors.iter().map(describe).collect();
        for (address, text) in &unbound {
            if self.unbound.get(address) != Some(text) {
                tracing::error!("{text}; everything else is in service");
            }
        }
        for address in self.unbound.keys().filter(|at| !unbound.contains_key(at)) {
            tracing::info!(%address, "no longer blocked");
        }
        let count = u64::try_from(unbound.len()).unwrap_or(u64::MAX);
        let counts = &self.metrics.config;
        counts.unbound.store(count, Ordering::Relaxed);
        let changed = unbound != self.unbound;
        self.unbound = unbound;
        changed
    }

    fn show(&self) {
        let Desired { plan, endpoints } = self.current.clone();
        self.admin.show(plan, endpoints);
    }
}

/// Number of listeners, and number of routes.
fn size(plan: &Plan<Policy>) -> (usize, usize) {
    let listeners = plan.ports.iter().flat_map(|port| &port.listeners);
    let routes = listeners
        .clone()
        .map(|listener| listener.routes.len())
        .sum();
    (listeners.count(), routes)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::{Cell, RefCell};
    use std::time::Duration;

    use super::*;

    /// A data plane that records calls and rejects plans on demand.
    #[derive(Default)]
    pub(crate) struct FakeDataPlane {
        calls: RefCell<Vec<&'static str>>,
        pub(crate) reject: Cell<bool>,
        /// An address that cannot be bound.
        pub(crate) blocked: Cell<Option<SocketAddr>>,
    }

    impl FakeDataPlane {
        /// Returns the calls since this function was last called.
        pub(crate) fn calls(&self) -> Vec<&'static str> {
            self.calls.take()
        }
    }

    impl DataPlane for FakeDataPlane {
        fn apply(&self, _plan: &Plan<Policy>) -> Result<(), Failure> {
            self.calls.borrow_mut().push("apply");
            if self.reject.get() {
                return Err("the plan cannot be built".into());
            }
            Ok(())
        }

        fn apply_bindable(&self, plan: &Plan<Policy>) -> Result<Vec<BindError>, Failure> {
            self.apply(plan)?;
            let unbound = self.blocked.get().map(|address| BindError {
                address,
                source: std::io::ErrorKind::AddrInUse.into(),
            });
            Ok(unbound.into_iter().collect())
        }

        fn set_endpoints(&self, _endpoints: &Endpoints) {
            self.calls.borrow_mut().push("endpoints");
        }

        async fn drain(&self, _timeout: Duration) -> bool {
            true
        }

        fn connections(&self) -> usize {
            0
        }

        fn duplicate_sockets(&self) -> std::io::Result<Vec<std::os::fd::OwnedFd>> {
            Ok(Vec::new())
        }

        fn hand_over(&self) {}
    }

    /// Numbers of applied and of rejected plans.
    pub(crate) fn counts(control: &Control<FakeDataPlane>) -> (u64, u64) {
        let config = &control.metrics.config;
        (
            config.applied.load(Ordering::Relaxed),
            config.rejected.load(Ordering::Relaxed),
        )
    }

    /// Number of addresses that cannot be bound.
    pub(crate) fn unbound(control: &Control<FakeDataPlane>) -> u64 {
        control.metrics.config.unbound.load(Ordering::Relaxed)
    }
}
