//! Finds the rule for a request, in the order of precedence of Gateway API.
//!
//! ```text
//! (hostname, match, payload) ... ──build──> RouteTable
//!                                           └─ by hostname: HostTable, shared by Arc
//!                                              ├─ exact paths and prefixes: sorted, in one piece
//!                                              ├─ gRPC services, gRPC methods: hashed
//!                                              └─ regular expressions: a list, from nine on a set
//! ```
//!
//! Which entry wins, over all rules of all routes together (GEP-1722, `HTTPRouteRule` and
//! `GRPCRouteRule` of Gateway API, with the order of path types from Envoy Gateway):
//!
//! 1. the hostname: exact, then the longer wildcard, then the shorter, then any;
//! 2. the path: exact, gRPC service, gRPC method, regular expression, prefix;
//! 3. the longer path, in characters, a prefix without its last slash;
//! 4. a match on the method before none;
//! 5. more header matches, of as many those with more exact ones;
//! 6. more query parameters;
//! 7. the entry that was given first.
//!
//! A look-up allocates nothing (but for a host with more than eight regular expressions) and costs the
//! same however many hosts there are: one hash per label of the host. Of its paths it compares as many as
//! it takes to halve their number down to one, then those that begin that one, and then it tries the few
//! entries of that path.
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

pub use host_table::HostTable;
pub use matches::{GrpcMethodMatch, NameMatch, PathMatch};

/// What a look-up wants to know of a request.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The host: lower case, without port and trailing dot; empty if there is none.
    pub host: &'a str,
    /// The normalised path, without the query.
    pub path: &'a str,
    /// What follows the question mark, as it came.
    pub query: Option<&'a str>,
    /// The method.
    pub method: &'a Method,
    /// The header.
    pub headers: &'a HeaderMap,
}

impl<'a> Query<'a> {
    /// What `request` says, which is for `host`, as [`Authority::host`](crate::http::Authority::host)
    /// gives it.
    pub fn of<B>(host: &'a str, request: &'a Request<B>) -> Self {
        Self {
            host,
            path: request.uri().path(),
            query: request.uri().query(),
            method: request.method(),
            headers: request.headers(),
        }
    }
}

/// The entry that a request is for.
#[derive(Debug)]
pub struct Found<'a, T> {
    /// What belongs to the entry.
    pub payload: &'a T,
    /// The hostname of the entry.
    pub hostname: &'a NamePattern,
    /// How many bytes of the path a prefix match took, without a slash at its end (0 for `/`);
    /// `None` if the entry matches the path in another way. What `ReplacePrefixMatch` replaces.
    pub prefix: Option<usize>,
}

/// Entries of many hostnames, with what belongs to them.
#[derive(Clone, Debug)]
pub struct RouteTable<T> {
    hosts: NameMap<Arc<HostTable<T>>>,
}

impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        Self {
            hosts: NameMap::default(),
        }
    }
}

impl<T> RouteTable<T> {
    /// A table of `entries`. Of equal ones the first wins, so the caller gives them by age of their
    /// route, then its name, then the place of the rule and of the match.
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

    /// The entry with the highest precedence of those that hold for `query`.
    ///
    /// If none of the most specific hostname holds, those of the next less specific are tried, unless
    /// `strict_host`: then there is none, as in Envoy.
    pub fn find(&self, query: &Query<'_>, strict_host: bool) -> Option<Found<'_, T>> {
        let most = if strict_host { 1 } else { usize::MAX };
        self.hosts
            .find_all(query.host)
            .take(most)
            .find_map(|host| host.find(query))
    }

    /// Puts the table of a hostname in place of the one that it had.
    pub fn insert(&mut self, host: Arc<HostTable<T>>) -> Option<Arc<HostTable<T>>> {
        self.hosts.insert(host.hostname().clone(), host)
    }
}

/// Puts tables together that were built alone, so that those of unchanged hosts are shared. Of two of
/// one hostname the later stays.
impl<T> FromIterator<Arc<HostTable<T>>> for RouteTable<T> {
    fn from_iter<I: IntoIterator<Item = Arc<HostTable<T>>>>(hosts: I) -> Self {
        let mut table = Self::default();
        for host in hosts {
            table.insert(host);
        }
        table
    }
}
