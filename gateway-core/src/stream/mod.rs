//! TCP proxying: TCPRoute and TLSRoute.
//!
//! ```text
//! listen::accept ── server name ──> StreamTable::find ──> Forwarder::choose ── limit, TLS ──> proxy
//!                                     most specific          weight, endpoint                   │
//!                                                      Forwarder::connect ──> copy ──> StreamLog::log_stream
//! ```
//!
//! A connection without a route or an available endpoint is closed before any byte is written to it.
//! Configuration changes do not affect an open connection: an open connection stays open until both sides
//! have closed it.

pub(crate) mod copy;
mod proxy;
mod record;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use proxy::{ClientStream, TcpProxy, proxy};
pub use record::StreamLog;
pub(crate) use record::StreamRecord;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use towergate_tls::connector::CryptoProvider;
use towergate_tls::{NameMap, NamePattern};

use crate::access_log::RuleName;
use crate::live::Live;
use crate::plan::{
    Backend, BackendProtocol, Destination, ListenerId, RouteId, StreamAccess, StreamRoute,
    WeightedBackend,
};
use crate::traffic::Forwarder;

/// Routes of a listener's TCP connections, with the server names as keys.
#[derive(Debug)]
pub struct StreamTable {
    /// Listener, for the access log.
    pub(crate) listener: Arc<ListenerId>,
    by_name: NameMap<StreamTarget>,
    /// First route. It is used for connections without a server name, as on a TCP listener.
    first: Option<StreamTarget>,
}

/// A route, and the hostname by which it was found.
#[derive(Clone, Debug)]
pub(crate) struct StreamTarget {
    pub(crate) rule: Arc<StreamRule>,
    /// Hostname of the route, for the access log.
    pub(crate) hostname: Arc<str>,
}

/// A built route.
#[derive(Debug)]
pub(crate) struct StreamRule {
    pub(crate) route: Arc<RouteId>,
    pub(crate) forwarder: Forwarder,
    access: Option<StreamAccess>,
}

impl StreamTable {
    /// Builds the table of a listener. `routes` must be sorted by age. If several routes have the same
    /// hostname, the route with the most specific written hostname takes precedence, then the oldest route.
    pub(crate) fn new<'a>(
        listener: ListenerId,
        routes: impl IntoIterator<Item = (&'a StreamRoute, Arc<StreamRule>)>,
    ) -> Self {
        let mut table = Self {
            listener: Arc::new(listener),
            by_name: NameMap::default(),
            first: None,
        };
        let mut written_of: HashMap<&NamePattern, (u8, usize)> = HashMap::new();
        for (route, rule) in routes {
            for (hostname, written) in route.hostname_pairs() {
                let known = written_of.get(hostname);
                if known.is_some_and(|known| *known >= written.specificity()) {
                    continue;
                }
                written_of.insert(hostname, written.specificity());
                let target = StreamTarget {
                    rule: rule.clone(),
                    hostname: hostname.to_string().into(),
                };
                table.first.get_or_insert_with(|| target.clone());
                table.by_name.insert(hostname.clone(), target);
            }
        }
        table
    }

    /// The route with the most specific hostname that matches `server_name`. If there is no server name, only
    /// a route for all hostnames matches.
    pub(crate) fn find(&self, server_name: Option<&str>) -> Option<&StreamTarget> {
        self.by_name.find(server_name.unwrap_or_default())
    }

    /// The first route. It is used for protocols without server names.
    pub(crate) fn first(&self) -> Option<&StreamTarget> {
        self.first.as_ref()
    }
}

impl StreamTarget {
    /// Name of the route for the access log.
    pub(crate) fn name(&self) -> Arc<RuleName> {
        Arc::new(RuleName {
            route: self.rule.route.clone(),
            rule: 0,
            matched: 0,
            hostname: self.hostname.clone(),
        })
    }
}

impl StreamRule {
    /// Whether a client may connect.
    pub(crate) fn admits(&self, client: IpAddr) -> bool {
        self.access
            .as_ref()
            .is_none_or(|access| access.admits(client))
    }

    /// Builds a route for TCP or terminated TLS. Connections to backends use TLS if it is configured for the
    /// backend. Counters and endpoints are shared through `live`.
    pub(crate) fn new(route: &StreamRoute, live: &Live, provider: &Arc<CryptoProvider>) -> Self {
        let backends = without_alpn(&route.backends, true);
        Self::with(route, &backends, live, provider)
    }

    /// Builds a route for TLS passthrough or UDP. Backends receive the client's bytes unchanged.
    pub(crate) fn passthrough(
        route: &StreamRoute,
        live: &Live,
        provider: &Arc<CryptoProvider>,
    ) -> Self {
        let backends = without_alpn(&route.backends, false);
        Self::with(route, &backends, live, provider)
    }

    fn with(
        route: &StreamRoute,
        backends: &[WeightedBackend],
        live: &Live,
        provider: &Arc<CryptoProvider>,
    ) -> Self {
        let key = (route.id.clone(), 0);
        Self {
            route: route.id.clone(),
            access: route.access.clone(),
            forwarder: Forwarder::new(key, route.traffic.clone(), backends, live, provider),
        }
    }
}

/// Copies `backends` for connections whose application protocol is unknown. TLS settings are kept without
/// ALPN if `tls` is set, and removed otherwise.
fn without_alpn(backends: &[WeightedBackend], tls: bool) -> Vec<WeightedBackend> {
    let destination = |destination: &Destination| match destination {
        Destination::Invalid => Destination::Invalid,
        Destination::Backend(backend) => {
            let tls = backend.tls.as_ref().filter(|_| tls).map(|tls| {
                let mut tls = (**tls).clone();
                tls.alpn.clear();
                Arc::new(tls)
            });
            Destination::Backend(Arc::new(Backend {
                id: backend.id.clone(),
                protocol: BackendProtocol::Http1,
                tls,
                hosts: backend.hosts.clone(),
                fallback: backend.fallback,
                dynamic: backend.dynamic.clone(),
            }))
        }
    };
    let backends = backends.iter().map(|backend| WeightedBackend {
        weight: backend.weight,
        filters: Vec::new(),
        destination: destination(&backend.destination),
    });
    backends.collect()
}
