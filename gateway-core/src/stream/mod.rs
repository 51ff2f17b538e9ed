//! Connections that are passed on as bytes: TCPRoute and TLSRoute.
//!
//! ```text
//! conn::accept ── server name ──> StreamTable::find ──> Forwarder::choose ── limit, TLS ──> pass
//!                                   most specific          weight, endpoint                  │
//!                                                    Forwarder::connect ──> copy ──> Handler::note_stream
//! ```
//!
//! A connection is refused before anything is written to it if it can go nowhere: the table has no route
//! for it, or the route no endpoint. After that it belongs to its backend: it goes on when the
//! configuration changes, until both sides have ended.

pub(crate) mod copy;
mod pass;
mod record;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use pass::{ClientSide, Passage, pass};
pub(crate) use record::Record;

use std::sync::Arc;

use towergate_tls::NameMap;
use towergate_tls::connector::CryptoProvider;

use crate::access_log::RuleName;
use crate::plan::{
    Backend, BackendProtocol, Destination, ListenerId, RouteId, StreamRoute, WeightedBackend,
};
use crate::snapshot::Live;
use crate::traffic::Forwarder;

/// Where the connections of a listener go, by server name.
#[derive(Debug)]
pub struct StreamTable {
    /// The listener, for logs.
    pub(crate) listener: Arc<ListenerId>,
    by_name: NameMap<StreamTarget>,
    /// Of all that is not named, as on a listener of TCP.
    first: Option<StreamTarget>,
}

/// A route that took a connection.
#[derive(Clone, Debug)]
pub(crate) struct StreamTarget {
    pub(crate) rule: Arc<StreamRule>,
    /// The hostname of the route, for logs.
    pub(crate) hostname: Arc<str>,
}

/// A route, ready to run.
#[derive(Debug)]
pub(crate) struct StreamRule {
    pub(crate) route: Arc<RouteId>,
    pub(crate) forwarder: Forwarder,
}

impl StreamTable {
    /// The table of a listener with these routes, the oldest first: of equal hostnames the first wins.
    pub(crate) fn new<'a>(
        listener: ListenerId,
        routes: impl IntoIterator<Item = (&'a StreamRoute, Arc<StreamRule>)>,
    ) -> Self {
        let mut table = Self {
            listener: Arc::new(listener),
            by_name: NameMap::default(),
            first: None,
        };
        for (route, rule) in routes {
            for hostname in &route.hostnames {
                if table.by_name.pattern_mut(hostname).is_some() {
                    continue;
                }
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

    /// The route for a server name; without one, only a route for every name.
    pub(crate) fn find(&self, server_name: Option<&str>) -> Option<&StreamTarget> {
        self.by_name.find(server_name.unwrap_or_default())
    }

    /// The first route: it has all connections that have no names.
    pub(crate) fn first(&self) -> Option<&StreamTarget> {
        self.first.as_ref()
    }
}

impl StreamTarget {
    /// Its name, for the access log.
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
    /// Builds a route. Counters and endpoints are those of `live`.
    pub(crate) fn new(route: &StreamRoute, live: &Live, provider: &Arc<CryptoProvider>) -> Self {
        Self::with(route, &raw(&route.backends, true), live, provider)
    }

    /// The same for bytes that are TLS, or no stream, already: backends get them as they are.
    pub(crate) fn as_is(route: &StreamRoute, live: &Live, provider: &Arc<CryptoProvider>) -> Self {
        Self::with(route, &raw(&route.backends, false), live, provider)
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
            forwarder: Forwarder::new(key, route.traffic.clone(), backends, live, provider),
        }
    }
}

/// The backends as they are spoken to when nobody knows what is said: without ALPN, over TLS only if
/// `tls` says so.
fn raw(backends: &[WeightedBackend], tls: bool) -> Vec<WeightedBackend> {
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
