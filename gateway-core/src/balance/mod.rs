//! Load balancing: picks the endpoint for a request.
//!
//! ```text
//! plan::Endpoints ──Clusters::update──> Cluster ──endpoint_set──> EndpointSet ──Balancer::pick──> LiveEndpoint
//! ```
//!
//! A [`Cluster`] contains the current endpoints of one backend. Its [`EndpointSet`] is replaced as a whole
//! while requests are served. The replacement is independent of the plan: endpoints may arrive before or
//! after the snapshot that uses them. A [`LiveEndpoint`] is one address. The request counter of an endpoint
//! is kept as long as its address is listed.
//!
//! ```
//! use towergate_core::balance::{Balancer, Clusters, Pick};
//! use towergate_core::plan::{BackendId, Endpoint, Endpoints, LoadBalancer};
//!
//! let id = BackendId::service("default", "web", 80);
//! let endpoint = Endpoint {
//!     address: "10.0.0.1:8080".parse().unwrap(),
//!     weight: 1,
//!     zone: None,
//! };
//! let clusters = Clusters::default();
//! let cluster = clusters.cluster(&id);
//! let balancer = Balancer::new(LoadBalancer::LeastRequest);
//! assert!(balancer.pick(&cluster, Pick::default()).is_none());
//!
//! clusters.update(&Endpoints::from([(id, vec![endpoint.clone()])]));
//!
//! let picked = balancer.pick(&cluster, Pick::default()).unwrap();
//! assert_eq!(*picked.address(), endpoint.address);
//! ```

mod balancer;
mod clusters;
mod endpoint;
mod endpoint_loads;
mod endpoint_set;
mod hash_key;
mod load_report;
mod maglev;
mod preferred;
mod weighted;
mod zones;

pub use balancer::{Balancer, Pick};
pub use clusters::{Cluster, Clusters};
pub use endpoint::{InFlightGuard, LiveEndpoint};
pub use endpoint_loads::EndpointLoads;
pub use endpoint_set::EndpointSet;
pub(crate) use hash_key::hash_address;
pub use hash_key::{HashResult, find_cookie, hash_key};
pub use load_report::LoadReport;
pub use maglev::Maglev;
pub use preferred::{PreferredEndpoint, RespondingEndpoint};
pub use weighted::Weights;
pub(crate) use zones::OwnZone;

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Shard number of the calling thread, below `shards`. Threads with different shard numbers share no cache
/// line.
pub(crate) fn shard(shards: usize) -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static SHARD: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed)));
    SHARD.with(Cell::get) % shards
}
