//! Which endpoint gets a request.
//!
//! ```text
//! Endpoints (control side) ──Directory::update──> Cluster ──load──> Members ──Balancer::pick──> Node
//! ```
//!
//! A [`Cluster`] is the live list of one backend's endpoints. It is replaced whole, while requests are
//! served, and apart from any plan: endpoints may come before or after the snapshot that uses them. A
//! [`Node`] is one address; it keeps its counters as long as the address stays.
//!
//! ```
//! use towergate_core::balance::{Balancer, Directory, Pick};
//! use towergate_core::plan::{BackendId, Endpoint, Endpoints, LoadBalancer};
//!
//! let id = BackendId {
//!     kind: "Service".to_owned(),
//!     namespace: "default".to_owned(),
//!     name: "web".to_owned(),
//!     port: 80,
//! };
//! let endpoint = Endpoint {
//!     address: "10.0.0.1:8080".parse().unwrap(),
//!     weight: 1,
//! };
//! let directory = Directory::default();
//! let cluster = directory.cluster(&id);
//! let balancer = Balancer::new(LoadBalancer::LeastRequest);
//! assert!(balancer.pick(&cluster, Pick::default()).is_none());
//!
//! directory.update(&Endpoints::from([(id, vec![endpoint.clone()])]));
//!
//! let node = balancer.pick(&cluster, Pick::default()).unwrap();
//! assert_eq!(node.address(), endpoint.address);
//! ```

mod balancer;
mod directory;
mod hash_key;
mod maglev;
mod members;
mod weighted;

pub use balancer::{Balancer, Pick};
pub use directory::{Cluster, Directory};
pub(crate) use hash_key::hash_address;
pub use hash_key::{Hashed, hash_key};
pub use maglev::Maglev;
pub use members::{Active, Members, Node};
pub use weighted::Weights;

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A small number of the calling thread, by which state is kept apart so that workers do not share it.
pub(crate) fn shard(shards: usize) -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static SHARD: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed)));
    SHARD.with(Cell::get) % shards
}
