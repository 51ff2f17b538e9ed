//! What each data plane was told last, so that only news are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;
use towergate_core::plan::{Endpoints, Plan};
use towergate_policy::Policy;

use super::backends::needed;
use crate::metrics::Metrics;
use crate::serve::{Publisher, Reports};

/// What was told to data planes, by their names.
#[derive(Debug)]
pub(crate) struct Published {
    publisher: Publisher,
    planes: BTreeMap<String, Told>,
}

#[derive(Debug, Default)]
struct Told {
    plan: Arc<Plan<Policy>>,
    endpoints: Arc<Endpoints>,
}

impl Published {
    /// Nothing was told yet.
    pub(crate) fn new(publisher: Publisher) -> Self {
        Self {
            publisher,
            planes: BTreeMap::new(),
        }
    }

    /// What data planes say.
    pub(crate) fn reports(&self) -> watch::Receiver<Arc<Reports>> {
        self.publisher.reports()
    }

    /// Tells each data plane what it is to serve, if this is new to it; those that are not named any
    /// longer are to serve nothing, but for those of `kept`: they go on with what they have.
    pub(crate) fn tell(
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
            self.tell_one(name, plan, endpoints, metrics);
        }
    }

    fn tell_one(
        &mut self,
        name: String,
        mut plan: Plan<Policy>,
        all: &Endpoints,
        metrics: &Metrics,
    ) {
        let endpoints = needed(&plan, all);
        let known = self.planes.get(&name);
        if let Some(told) = known {
            // What is equal stays what it was, so that comparing and sending it costs nothing.
            plan.share(&told.plan);
            if plan == *told.plan && endpoints == *told.endpoints {
                return;
            }
        }
        // What is equal to what was told is the same in memory: comparing it again costs nothing.
        let plan = match known {
            Some(told) if plan == *told.plan => Arc::clone(&told.plan),
            _ => Arc::new(plan),
        };
        let endpoints = match known {
            Some(told) if endpoints == *told.endpoints => Arc::clone(&told.endpoints),
            _ => Arc::new(endpoints),
        };
        let (ports, told) = (plan.ports.len(), Told { plan, endpoints });
        let (plan, endpoints) = (Arc::clone(&told.plan), Arc::clone(&told.endpoints));
        match self.publisher.publish(&name, plan, endpoints) {
            Ok(version) => {
                tracing::debug!(plane = name, version, ports, "published");
                metrics.published();
                self.planes.insert(name, told);
            }
            Err(error) => {
                tracing::error!(plane = name, %error, "the plan cannot be sent; the one before it stays");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_named_serves_nothing_unless_it_is_kept() {
        let publisher = Publisher::default();
        let mut published = Published::new(publisher.clone());
        let plans = ["d/a", "d/b", "d/c"].map(|name| (name.to_owned(), Plan::default()));
        let (endpoints, metrics) = (Endpoints::default(), Metrics::default());
        published.tell(plans.clone().into(), &endpoints, &BTreeSet::new(), &metrics);

        let [first, ..] = plans;
        let kept = ["d/b".to_owned()].into();
        published.tell([first].into(), &endpoints, &kept, &metrics);

        let reports = publisher.reports();
        let known: Vec<String> = reports.borrow().planes.keys().cloned().collect();
        assert_eq!(known, ["d/a", "d/b"]);
    }
}
