//! Backends of rules, and the addresses behind them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use towergate_tls::client::ClientTls;

use super::Filter;

/// A backend with its share of a rule's requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightedBackend {
    /// Its share, relative to the sum; 0: none.
    pub weight: u32,
    /// Filters of the backendRef.
    pub filters: Vec<Filter>,
    /// Where the share goes.
    pub destination: Destination,
}

/// Where a share of requests goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Destination {
    /// The reference cannot be resolved: answered with 500.
    Invalid,
    /// A backend.
    Backend(Arc<Backend>),
}

/// A backend as a rule uses it.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    /// Its name, by which its endpoints are found.
    pub id: BackendId,
    /// What it speaks.
    pub protocol: BackendProtocol,
    /// How it is spoken to over TLS; `None`: plain.
    pub tls: Option<Arc<ClientTls>>,
}

/// What a backend speaks.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum BackendProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge, or by ALPN over TLS.
    Http2,
}

/// The name of a backend: a port of a Service.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct BackendId {
    /// `Service`, `Service/UDP` for its ports of UDP, or another kind that has endpoints.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The port that the route names.
    pub port: u16,
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}:{}",
            self.kind, self.namespace, self.name, self.port
        )
    }
}

/// An address that serves a backend.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Endpoint {
    /// Where to connect to.
    pub address: SocketAddr,
    /// Its share relative to the other endpoints.
    pub weight: u32,
}

/// The addresses of all backends, sorted and without duplicates. Changes apart from the plan.
pub type Endpoints = BTreeMap<BackendId, Vec<Endpoint>>;
