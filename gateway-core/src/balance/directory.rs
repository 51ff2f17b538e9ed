//! The live clusters by the name of their backend.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::Members;
use crate::plan::{BackendId, Endpoint, Endpoints};
use crate::snapshot::Live;

/// The live endpoints of one backend.
#[derive(Debug)]
pub struct Cluster {
    id: BackendId,
    members: ArcSwap<Members>,
}

impl Cluster {
    /// A backend without endpoints.
    pub fn new(id: BackendId) -> Self {
        Self {
            id,
            members: ArcSwap::default(),
        }
    }

    /// Its name.
    pub fn id(&self) -> &BackendId {
        &self.id
    }

    /// Replaces the endpoints. Addresses that stay keep their counters. Called by one thread at a time.
    pub fn set(&self, endpoints: &[Endpoint]) {
        let before = self.members.load();
        self.members
            .store(Arc::new(Members::build(endpoints, &before)));
    }

    /// The endpoints of this moment.
    pub fn members(&self) -> Guard<Arc<Members>> {
        self.members.load()
    }
}

/// All clusters of a process. Kept by whoever brings endpoints, and by every forwarder.
#[derive(Debug, Default)]
pub struct Directory {
    clusters: Mutex<BTreeMap<BackendId, Entry>>,
}

#[derive(Debug)]
struct Entry {
    cluster: Arc<Cluster>,
    endpoints: Vec<Endpoint>,
}

impl Directory {
    /// The directory of `live`. Whoever updates it must keep it, else endpoints that arrive before the
    /// first snapshot are lost.
    pub fn of(live: &Live) -> Arc<Self> {
        live.share((), |()| Arc::new(Self::default()))
    }

    /// The cluster of a backend, empty if nothing is known of it yet.
    pub fn cluster(&self, id: &BackendId) -> Arc<Cluster> {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        entry(&mut clusters, id).cluster.clone()
    }

    /// Makes `endpoints` the endpoints of all backends. A backend that is not named has none. Only what
    /// differs from the last call is touched.
    pub fn update(&self, endpoints: &Endpoints) {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        clusters.retain(|id, entry| {
            if !endpoints.contains_key(id) && !entry.endpoints.is_empty() {
                entry.replace(&[]);
            }
            !entry.endpoints.is_empty() || Arc::strong_count(&entry.cluster) > 1
        });
        for (id, list) in endpoints {
            let entry = entry(&mut clusters, id);
            if entry.endpoints != *list {
                entry.replace(list);
            }
        }
    }
}

impl Entry {
    fn replace(&mut self, endpoints: &[Endpoint]) {
        self.endpoints = endpoints.to_vec();
        self.cluster.set(endpoints);
    }
}

fn entry<'a>(clusters: &'a mut BTreeMap<BackendId, Entry>, id: &BackendId) -> &'a mut Entry {
    clusters.entry(id.clone()).or_insert_with(|| Entry {
        cluster: Arc::new(Cluster::new(id.clone())),
        endpoints: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Active;

    fn id(name: &str) -> BackendId {
        BackendId {
            kind: "Service".to_owned(),
            namespace: "default".to_owned(),
            name: name.to_owned(),
            port: 80,
        }
    }

    fn endpoint(port: u16) -> Endpoint {
        Endpoint {
            address: ([10, 0, 0, 1], port).into(),
            weight: 1,
        }
    }

    #[test]
    fn endpoints_may_come_before_or_after_the_rule_that_uses_them() {
        let directory = Directory::default();
        let early = directory.cluster(&id("a"));

        directory.update(&Endpoints::from([
            (id("a"), vec![endpoint(1)]),
            (id("b"), vec![endpoint(2)]),
        ]));

        assert_eq!(early.members().nodes().len(), 1);
        assert_eq!(directory.cluster(&id("b")).members().nodes().len(), 1);
    }

    #[test]
    fn an_address_that_stays_keeps_its_counter_and_one_that_leaves_is_gone() {
        let directory = Directory::default();
        let cluster = directory.cluster(&id("a"));
        directory.update(&Endpoints::from([(
            id("a"),
            vec![endpoint(1), endpoint(2)],
        )]));
        let before: Vec<_> = cluster.members().nodes().to_vec();
        let _active = Active::new(before[0].clone());

        directory.update(&Endpoints::from([(
            id("a"),
            vec![endpoint(1), endpoint(3)],
        )]));

        assert_eq!(cluster.members().nodes()[0].active(), 1);
        assert!(before[1].is_gone());
        directory.update(&Endpoints::new());
        assert!(cluster.members().nodes().is_empty());
        assert!(before[0].is_gone());
    }

    #[test]
    fn what_nobody_uses_is_forgotten() {
        let directory = Directory::default();
        drop(directory.cluster(&id("a")));

        directory.update(&Endpoints::new());

        assert!(directory.clusters.lock().unwrap().is_empty());
    }
}
