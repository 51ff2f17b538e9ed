//! Publishes changed plans, by comparison with the last plan of each data plane.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;
use towergate_core::plan::{Endpoints, Plan};
use towergate_policy::Policy;

use super::backends::needed;
use crate::metrics::Metrics;
use crate::serve::{Publisher, Reports};

/// The published plans by the names of data planes.
#[derive(Debug)]
pub(crate) struct Published {
    publisher: Publisher,
    planes: BTreeMap<String, PublishedPlan>,
}

#[derive(Debug, Default)]
struct PublishedPlan {
    plan: Arc<Plan<Policy>>,
    endpoints: Arc<Endpoints>,
}

impl Published {
    /// Creates an empty set: no plan is published yet.
    pub(crate) fn new(publisher: Publisher) -> Self {
        Self {
            publisher,
            planes: BTreeMap::new(),
        }
    }

    /// A receiver of the reports of data planes.
    pub(crate) fn reports(&self) -> watch::Receiver<Arc<Reports>> {
        self.publisher.reports()
    }

    /// Publishes changed plans. If `plans` has no plan for a data plane, the data plane keeps its last plan if
    /// `kept` contains its name, and otherwise receives an empty plan.
    pub(crate) fn publish(
        &mut self,
        plans: BTreeMap<String, Plan<Policy>>,
        endpoints: &Endpoints,
        kept: &BTreeSet<String>,
        metrics: &Metrics,
    ) {
        let gone: Vec<String> = self
            .planes
            .keys()
            .filter(|name| !plans.contains_key(*name) && !kept.contains(*name))
            .cloned()
            .collect();
        for name in gone {
            self.planes.remove(&name);
            self.publisher.remove(&name);
        }
        for (name, plan) in plans {
            self.publish_one(name, plan, endpoints, metrics);
        }
    }

    fn publish_one(
        &mut self,
        name: String,
        mut plan: Plan<Policy>,
        all: &Endpoints,
        metrics: &Metrics,
    ) {
        let endpoints = needed(&plan, all);
        let known = self.planes.get(&name);
        if let Some(told) = known {
            // Equal parts share memory with the last plan, which avoids the cost of comparing and sending
            // them.
            plan.share(&told.plan);
            if plan == *told.plan && endpoints == *told.endpoints {
                return;
            }
        }
        // If the plan is equal to the published plan, the allocation of the published plan is used: later
        // comparisons of the plan are then cheap.
        let plan = match known {
            Some(told) if plan == *told.plan => Arc::clone(&told.plan),
            _ => Arc::new(plan),
        };
        let endpoints = match known {
            Some(told) if endpoints == *told.endpoints => Arc::clone(&told.endpoints),
            _ => Arc::new(endpoints),
        };
        let (ports, told) = (plan.ports.len(), PublishedPlan { plan, endpoints });
        let (plan, endpoints) = (Arc::clone(&told.plan), Arc::clone(&told.endpoints));
        match self.publisher.publish(&name, plan, endpoints) {
            Ok(version) => {
                tracing::debug!(plane = name, version, ports, "published");
                metrics.published();
                self.planes.insert(name, told);
            }
            Err(error) => {
                tracing::error!(plane = name, %error, "plan cannot be encoded; the previous plan stays in service");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_plane_without_a_plan_serves_nothing_unless_it_is_kept() {
        let publisher = Publisher::default();
        let mut published = Published::new(publisher.clone());
        let plans = ["d/a", "d/b", "d/c"].map(|name| (name.to_owned(), Plan::default()));
        let (endpoints, metrics) = (Endpoints::default(), Metrics::default());
        published.publish(plans.clone().into(), &endpoints, &BTreeSet::new(), &metrics);

        let [first, ..] = plans;
        let kept = ["d/b".to_owned()].into();
        published.publish([first].into(), &endpoints, &kept, &metrics);

        let reports = publisher.reports();
        let known: Vec<String> = reports.borrow().planes.keys().cloned().collect();
        assert_eq!(known, ["d/a", "d/b"]);
    }
}
