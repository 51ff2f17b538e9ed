//! Puts plans in force, wherever they come from.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use towergate_core::plan::{Endpoints, Plan};
use towergate_policy::Policy;

use crate::Failure;
use crate::admin::Admin;
use crate::metrics::Metrics;
use crate::plane::DataPlane;
use crate::time::unix_seconds;

/// What is to be served.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// The plan.
    pub(crate) plan: Arc<Plan<Policy>>,
    /// The addresses of its backends.
    pub(crate) endpoints: Arc<Endpoints>,
}

/// What a source has to begin with.
pub(crate) enum First {
    /// This, and if it cannot be served, there is nothing to serve.
    Needed(Wanted),
    /// This, until there is something newer.
    Offered(Wanted),
    /// Nothing yet.
    Later,
}

/// Where plans come from.
pub(crate) trait Source {
    /// What there is to begin with.
    ///
    /// # Errors
    /// If there can never be anything.
    fn begin(&mut self) -> Result<First, Failure>;

    /// Waits for something to serve. May be dropped while it waits; nothing is lost then.
    fn next(&mut self) -> impl Future<Output = Wanted>;

    /// Looks again, because somebody asks for it.
    fn look_again(&mut self) -> Option<Wanted>;

    /// Takes down what became of what it gave last: whether something was new, or why it is not served.
    fn note(&mut self, outcome: &Result<bool, Failure>);
}

/// Brings what is wanted to the data plane.
pub(crate) struct Control<D> {
    plane: D,
    admin: Arc<Admin>,
    metrics: Arc<Metrics>,
    /// In service.
    now: Wanted,
}

impl<D: DataPlane> Control<D> {
    /// Nothing is in service yet.
    pub(crate) fn new(plane: D, admin: Arc<Admin>, metrics: Arc<Metrics>) -> Self {
        Self {
            plane,
            admin,
            metrics,
            now: Wanted::default(),
        }
    }

    /// What is in service.
    pub(crate) fn plan(&self) -> &Plan<Policy> {
        &self.now.plan
    }

    /// What serves it.
    pub(crate) fn plane(&self) -> &D {
        &self.plane
    }

    /// Takes what there is to begin with into service.
    ///
    /// # Errors
    /// If the source has nothing to fall back on.
    pub(crate) fn begin(&mut self, source: &mut impl Source) -> Result<(), Failure> {
        match source.begin()? {
            First::Needed(wanted) => self.put(wanted).map(|_| ()),
            First::Offered(wanted) => {
                self.serve(wanted, source);
                Ok(())
            }
            First::Later => Ok(()),
        }
    }

    /// Takes what `source` wants into service, and tells it the outcome. Whether there was something to
    /// take, also if it was refused.
    pub(crate) fn serve(&mut self, wanted: Wanted, source: &mut impl Source) -> bool {
        let outcome = self.put(wanted);
        if let Err(error) = &outcome {
            self.metrics.config.rejected.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "the configuration cannot be served; the one before it stays in service");
        }
        source.note(&outcome);
        outcome.unwrap_or(true)
    }

    /// Whether something was new.
    fn put(&mut self, wanted: Wanted) -> Result<bool, Failure> {
        let Wanted { plan, endpoints } = wanted;
        let moved = *endpoints != *self.now.endpoints;
        // Endpoints first: a new route must not find its backend empty.
        if moved {
            self.plane.set_endpoints(&endpoints);
            self.now.endpoints = endpoints;
            self.show();
        }
        let counts = &self.metrics.config;
        let first = counts.applied.load(Ordering::Relaxed) == 0;
        // What did not change is neither kept nor built twice.
        let mut plan = Arc::unwrap_or_clone(plan);
        plan.share(&self.now.plan);
        if plan == *self.now.plan && !first {
            return Ok(moved);
        }
        self.plane.apply(&plan)?;
        counts.note_ports(&plan.ports);
        self.now.plan = Arc::new(plan);
        let version = counts.applied.fetch_add(1, Ordering::Relaxed) + 1;
        let now = unix_seconds(SystemTime::now());
        counts
            .applied_at
            .store(u64::try_from(now).unwrap_or(0), Ordering::Relaxed);
        let (listeners, routes) = size(&self.now.plan);
        tracing::info!(version, listeners, routes, "in service");
        self.show();
        self.admin.set_ready(true);
        Ok(true)
    }

    fn show(&self) {
        let Wanted { plan, endpoints } = self.now.clone();
        self.admin.show(plan, endpoints);
    }
}

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

    /// Remembers what it was asked, and refuses plans when told to.
    #[derive(Default)]
    pub(crate) struct Remembering {
        asked: RefCell<Vec<&'static str>>,
        pub(crate) refuse: Cell<bool>,
    }

    impl Remembering {
        /// What it was asked since the last time.
        pub(crate) fn asked(&self) -> Vec<&'static str> {
            self.asked.take()
        }
    }

    impl DataPlane for Remembering {
        fn apply(&self, _plan: &Plan<Policy>) -> Result<(), Failure> {
            self.asked.borrow_mut().push("apply");
            if self.refuse.get() {
                return Err("the port is taken".into());
            }
            Ok(())
        }

        fn set_endpoints(&self, _endpoints: &Endpoints) {
            self.asked.borrow_mut().push("endpoints");
        }

        async fn drain(&self, _deadline: Duration) -> bool {
            true
        }

        fn running(&self) -> usize {
            0
        }
    }

    /// How many plans were taken and refused.
    pub(crate) fn counted(control: &Control<Remembering>) -> (u64, u64) {
        let config = &control.metrics.config;
        (
            config.applied.load(Ordering::Relaxed),
            config.rejected.load(Ordering::Relaxed),
        )
    }
}
