//! The clusters of a process, stored in a map with the IDs of the backends as keys.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::EndpointSet;
use crate::dns::{self, HostFollower};
use crate::live::Live;
use crate::plan::{Backend, BackendId, DnsSettings, Endpoint, Endpoints};

/// The current endpoints of one backend.
#[derive(Debug)]
pub struct Cluster {
    id: BackendId,
    endpoint_set: ArcSwap<EndpointSet>,
    /// Task that looks up the endpoints, if the backend is configured by host names.
    follower: OnceLock<HostFollower>,
}

impl Cluster {
    /// Creates a cluster without endpoints.
    pub fn new(id: BackendId) -> Self {
        Self {
            id,
            endpoint_set: ArcSwap::default(),
            follower: OnceLock::new(),
        }
    }

    /// Id of the backend.
    pub fn id(&self) -> &BackendId {
        &self.id
    }

    /// Replaces the endpoints. An address that was already listed keeps its counter of requests in flight.
    /// Must not be called by two threads at once.
    pub fn set(&self, endpoints: &[Endpoint]) {
        let before = self.endpoint_set.load();
        self.endpoint_set
            .store(Arc::new(EndpointSet::build(endpoints, &before)));
    }

    /// The current endpoints.
    pub fn endpoint_set(&self) -> Guard<Arc<EndpointSet>> {
        self.endpoint_set.load()
    }

    /// Stores `follower` until the cluster is dropped. The follower sets the endpoints of the cluster.
    pub(crate) fn follow(&self, follower: HostFollower) {
        // The cell is still empty, because the function that creates the cluster calls this method once.
        let _ = self.follower.set(follower);
    }

    /// Whether the endpoints are the resolved addresses of hosts.
    pub(crate) fn is_followed(&self) -> bool {
        self.follower.get().is_some()
    }

    /// Whether the first lookup of the hosts has not completed yet.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.follower
            .get()
            .is_some_and(|follower| !follower.has_answered())
    }

    /// Waits until all hosts of the backend have been looked up once.
    pub(crate) async fn first_answer(&self) {
        if let Some(follower) = self.follower.get() {
            follower.first_answer().await;
        }
    }
}

/// All clusters of a process. The source of endpoints and every forwarder hold a reference to the same
/// instance.
#[derive(Debug, Default)]
pub struct Clusters {
    clusters: Mutex<BTreeMap<BackendId, Entry>>,
}

#[derive(Debug)]
struct Entry {
    cluster: Arc<Cluster>,
    endpoints: Vec<Endpoint>,
}

impl Clusters {
    /// The clusters of `live`. A caller that updates the clusters must hold the returned reference. Otherwise
    /// endpoints that arrive before the first snapshot are lost.
    pub fn of(live: &Live) -> Arc<Self> {
        live.share((), |()| Arc::new(Self::default()))
    }

    /// The cluster of `backend`. Its endpoints are set by [`Self::update`], or are the resolved addresses of
    /// the hosts of the backend.
    pub(crate) fn of_backend(
        &self,
        backend: &Backend,
        settings: DnsSettings,
        live: &Live,
    ) -> Arc<Cluster> {
        match backend.hosts.is_empty() {
            true => self.cluster(&backend.id),
            false => dns::cluster(live, backend, settings),
        }
    }

    /// The cluster of a backend; it has no endpoints until [`Self::update`] sets them.
    pub fn cluster(&self, id: &BackendId) -> Arc<Cluster> {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        entry(&mut clusters, id).cluster.clone()
    }

    /// Sets the endpoints of all backends. A backend without an entry has no endpoints. A cluster is left
    /// unchanged if its endpoints equal its endpoints in the previous call.
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
    use crate::balance::InFlightGuard;

    fn id(name: &str) -> BackendId {
        BackendId::service("default", name, 80)
    }

    fn endpoint(port: u16) -> Endpoint {
        Endpoint {
            address: ([10, 0, 0, 1], port).into(),
            weight: 1,
            zone: None,
        }
    }

    #[test]
    fn endpoints_may_arrive_before_or_after_the_rule_that_uses_them() {
        let clusters = Clusters::default();
        let early = clusters.cluster(&id("a"));

        clusters.update(&Endpoints::from([
            (id("a"), vec![endpoint(1)]),
            (id("b"), vec![endpoint(2)]),
        ]));

        assert_eq!(early.endpoint_set().endpoints().len(), 1);
        assert_eq!(
            clusters.cluster(&id("b")).endpoint_set().endpoints().len(),
            1
        );
    }

    #[test]
    fn a_kept_address_keeps_its_counter_and_a_missing_one_is_removed() {
        let clusters = Clusters::default();
        let cluster = clusters.cluster(&id("a"));
        clusters.update(&Endpoints::from([(
            id("a"),
            vec![endpoint(1), endpoint(2)],
        )]));
        let before: Vec<_> = cluster.endpoint_set().endpoints().to_vec();
        let _active = InFlightGuard::new(before[0].clone());

        clusters.update(&Endpoints::from([(
            id("a"),
            vec![endpoint(1), endpoint(3)],
        )]));

        assert_eq!(cluster.endpoint_set().endpoints()[0].in_flight(), 1);
        assert!(before[1].is_removed());
        clusters.update(&Endpoints::new());
        assert!(cluster.endpoint_set().endpoints().is_empty());
        assert!(before[0].is_removed());
    }

    #[test]
    fn an_unused_cluster_without_endpoints_is_removed() {
        let clusters = Clusters::default();
        drop(clusters.cluster(&id("a")));

        clusters.update(&Endpoints::new());

        assert!(clusters.clusters.lock().unwrap().is_empty());
    }
}
