//! Matches requests to rules. The order of precedence is that of Gateway API.
//!
//! ```text
//! (hostname, match, payload) ... ──build──> RouteTable
//!                                           └─ by hostname: HostTable, shared by Arc
//!                                              ├─ exact paths and prefixes: sorted, contiguous
//!                                              ├─ gRPC services, gRPC methods: hash maps
//!                                              └─ regular expressions: a list; a set if more than 8
//! ```
//!
//! If several entries match, these criteria decide in this order (GEP-1722, `HTTPRouteRule` and
//! `GRPCRouteRule` of Gateway API; the order of path types is that of Envoy Gateway):
//!
//! 1. hostname: exact hostname, then wildcards from the longest to the shortest, then any. If routes have the
//!    same hostname on a listener, their hostnames as written in the routes are compared in the same way;
//! 2. path type: exact, gRPC service, gRPC method, regular expression, prefix;
//! 3. path length in characters, without the trailing slash of a prefix;
//! 4. presence of a method match;
//! 5. number of header matches, then number of exact header matches;
//! 6. number of query parameter matches;
//! 7. position: the first entry wins.
//!
//! A lookup does not allocate memory, unless the host has more than 8 regular expressions. The cost of a
//! lookup does not depend on the number of hosts, because a lookup computes one hash per label of the host.
//! Paths are found by binary search. Of the paths of a host, only the found path and its prefixes are
//! examined.
//!
//! ```
//! use http::Request;
//! use towergate_core::route::matches::{Match, PathMatch};
//! use towergate_core::route::{Query, RouteTable};
//!
//! let api = Match { path: PathMatch::Prefix("/api".to_owned()), ..Match::default() };
//! let all = Match::default();
//! let host: towergate_tls::NamePattern = "*.example.com".parse()?;
//! let table = RouteTable::build([(host.clone(), &all, "all"), (host, &api, "api")]);
//!
//! let request = Request::get("/api/v1").body(()).unwrap();
//! let query = Query::of("www.example.com", &request);
//! assert_eq!(table.find(&query, false).map(|found| *found.payload), Some("api"));
//! # Ok::<(), towergate_tls::name::InvalidName>(())
//! ```

mod conditions;
mod host_table;
pub mod matches;
mod paths;
mod pattern;
mod rank;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod table_tests;

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderMap, Method, Request};
use towergate_tls::{NameMap, NamePattern};

use self::matches::Match;
use crate::http::path::ComparedPath;

pub use host_table::HostTable;
pub use matches::{GrpcMethodMatch, NameMatch, PathMatch};

/// Parts of a request that are compared with matches.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Host in lower case, without port and trailing dot. Empty if the request has no host.
    pub host: &'a str,
    /// Normalised path, without the query.
    pub path: &'a str,
    /// The forms of the path that are compared with rules. `None`: all of them are equal to `path`.
    pub compared: Option<&'a ComparedPath>,
    /// Query as received, without the question mark.
    pub query: Option<&'a str>,
    /// Method.
    pub method: &'a Method,
    /// Header fields.
    pub headers: &'a HeaderMap,
}

impl<'a> Query<'a> {
    /// The query for `request`. `host` is the result of [`Authority::host`](crate::http::Authority::host).
    pub fn of<B>(host: &'a str, request: &'a Request<B>) -> Self {
        Self {
            host,
            path: request.uri().path(),
            compared: request.extensions().get(),
            query: request.uri().query(),
            method: request.method(),
            headers: request.headers(),
        }
    }

    /// The form of the path for exact paths and prefixes.
    fn literal_path(&self) -> &'a str {
        self.compared.map_or(self.path, ComparedPath::literal)
    }

    /// The forms of the path for regular expressions. One of them must match.
    fn expression_paths(&self) -> (&'a str, Option<&'a str>) {
        match self.compared.map(|compared| (compared, compared.decoded())) {
            None => (self.path, None),
            Some((_, Some(decoded))) => (decoded, None),
            Some((compared, None)) => (self.path, Some(compared.literal())),
        }
    }
}

/// The entry that a lookup found.
#[derive(Debug)]
pub struct MatchedRoute<'a, T> {
    /// Payload of the entry.
    pub payload: &'a T,
    /// Hostname of the entry.
    pub hostname: &'a NamePattern,
    /// Length of the matched prefix of [`Query::path`] in bytes, without a trailing slash (0 for `/`).
    /// `ReplacePrefixMatch` replaces this prefix. `None`: the entry has another path type.
    pub prefix: Option<usize>,
}

/// Entries of many hostnames, with their payloads.
#[derive(Clone, Debug)]
pub struct RouteTable<T> {
    hosts: NameMap<HostTables<T>>,
}

/// A table of a hostname, followed by further tables of the same hostname. The tables are searched in this
/// order.
#[derive(Clone, Debug)]
struct HostTables<T> {
    table: Arc<HostTable<T>>,
    /// The next table. `None` for nearly all hostnames.
    next: Option<Box<Self>>,
}

impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        Self {
            hosts: NameMap::default(),
        }
    }
}

impl<T> RouteTable<T> {
    /// Builds a table of `entries`. If several entries have the same match, the first of them applies.
    /// Therefore the caller must sort the entries by age of the route, name of the route, index of the rule
    /// and index of the match.
    pub fn build<'m>(entries: impl IntoIterator<Item = (NamePattern, &'m Match, T)>) -> Self {
        let mut hosts: HashMap<NamePattern, Vec<(&Match, T)>> = HashMap::new();
        for (hostname, entry, payload) in entries {
            hosts.entry(hostname).or_default().push((entry, payload));
        }
        hosts
            .into_iter()
            .map(|(hostname, entries)| Arc::new(HostTable::build(hostname, entries)))
            .collect()
    }

    /// The entry with the highest precedence that matches `query`.
    ///
    /// If no entry of the most specific hostname matches, less specific hostnames are searched, unless
    /// `strict_host` is set. Envoy searches only the most specific hostname.
    pub fn find(&self, query: &Query<'_>, strict_host: bool) -> Option<MatchedRoute<'_, T>> {
        let most = if strict_host { 1 } else { usize::MAX };
        self.hosts
            .find_all(query.host)
            .take(most)
            .find_map(|host| host.find(query))
    }

    /// Adds a table, which is searched after the other tables of its hostname.
    pub(crate) fn push(&mut self, table: Arc<HostTable<T>>) {
        let hostname = table.hostname().clone();
        let added = HostTables { table, next: None };
        let Some(before) = self.hosts.insert(hostname, added) else {
            return;
        };
        let hostname = before.table.hostname().clone();
        let added = self.hosts.insert(hostname.clone(), before);
        let mut last = self
            .hosts
            .pattern_mut(&hostname)
            .map(|tables| &mut tables.next);
        while let Some(Some(tables)) = last {
            last = Some(&mut tables.next);
        }
        if let Some(last) = last {
            *last = added.map(Box::new);
        }
    }
}

impl<T> HostTables<T> {
    fn find(&self, query: &Query<'_>) -> Option<MatchedRoute<'_, T>> {
        let found = self.table.find(query);
        if found.is_some() || self.next.is_none() {
            return found;
        }
        let following =
            std::iter::successors(self.next.as_deref(), |tables| tables.next.as_deref());
        following
            .into_iter()
            .find_map(|tables| tables.table.find(query))
    }
}

/// Combines tables of single hosts, so that unchanged hosts can be shared. Tables of the same hostname are
/// searched in the order of the iterator.
impl<T> FromIterator<Arc<HostTable<T>>> for RouteTable<T> {
    fn from_iter<I: IntoIterator<Item = Arc<HostTable<T>>>>(hosts: I) -> Self {
        let mut table = Self::default();
        for host in hosts {
            table.push(host);
        }
        table
    }
}
