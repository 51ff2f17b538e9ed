//! Constructors of plans for programs that do not use Kubernetes manifests.
//!
//! ```
//! use towergate_core::Plan;
//! use towergate_core::plan::{BackendId, Endpoints, PathMatch, Route, Rule};
//!
//! let users = BackendId::service("shop", "users", 80);
//! let rule = Rule::new(PathMatch::Prefix("/users".to_owned())).to(&users);
//! let route = Route::new("shop", "users", vec![rule]);
//! let plan: Plan = Plan::http("shop", "edge", 80, vec![route]);
//! let endpoints = Endpoints::from([(users, vec!["10.0.0.7:8080".parse()?])]);
//!
//! assert_eq!(plan.ports[0].listeners[0].routes[0].rules[0].backends[0].weight, 1);
//! assert_eq!(endpoints.len(), 1);
//! # Ok::<(), std::net::AddrParseError>(())
//! ```
//!
//! The constructors use the default settings. All fields of a plan are public and can be changed afterwards.

use std::net::AddrParseError;
use std::str::FromStr;
use std::sync::Arc;

use towergate_tls::NamePattern;

use super::{
    Backend, BackendId, BackendKind, BackendProtocol, Destination, Endpoint, EndpointAddress,
    Listener, ListenerId, Match, PathMatch, Plan, Port, Protocol, Route, RouteId, RouteKind, Rule,
    TcpSettings, Traffic, WeightedBackend,
};

impl<P> Plan<P> {
    /// Creates a plan with one port, which has one listener. See [`Listener::http`] and [`Port::new`].
    pub fn http(namespace: &str, gateway: &str, port: u16, routes: Vec<Route<P>>) -> Self {
        let listener = Listener::http(namespace, gateway, port, routes);
        Self {
            ports: vec![Port::new(port, vec![listener])],
            datagrams: Vec::new(),
        }
    }
}

impl<P> Port<P> {
    /// Creates a port without addresses to bind, for a program that embeds the gateway.
    pub fn new(port: u16, listeners: Vec<Listener<P>>) -> Self {
        Self {
            addresses: Vec::new(),
            port,
            tcp: TcpSettings::default(),
            listeners,
        }
    }
}

impl<P> Listener<P> {
    /// Creates an HTTP listener without TLS. Its name is `http`, and it accepts all hostnames. It has the
    /// default settings.
    pub fn http(namespace: &str, gateway: &str, port: u16, routes: Vec<Route<P>>) -> Self {
        Self {
            id: ListenerId {
                namespace: namespace.to_owned(),
                gateway: gateway.to_owned(),
                listener: "http".to_owned(),
            },
            port,
            hostname: NamePattern::Any,
            protocol: Protocol::Http,
            settings: Arc::default(),
            routes: routes.into_iter().map(Arc::new).collect(),
            streams: Vec::new(),
            failed: false,
        }
    }
}

impl<P> Route<P> {
    /// Creates an HTTPRoute for all hostnames of its listener. Sets the route and index of each rule.
    pub fn new(namespace: &str, name: &str, rules: Vec<Rule<P>>) -> Self {
        let id = Arc::new(RouteId {
            kind: RouteKind::Http,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        });
        let named = |(index, rule)| {
            let route = id.clone();
            Arc::new(Rule {
                route,
                index,
                ..rule
            })
        };
        Self {
            hostnames: vec![NamePattern::Any],
            written_hostnames: Vec::new(),
            rules: rules.into_iter().enumerate().map(named).collect(),
            id,
        }
    }
}

impl<P> Rule<P> {
    /// Creates a rule for `path` without policies, filters and backends, with the default traffic settings.
    pub fn new(path: PathMatch) -> Self {
        Self {
            route: Arc::new(RouteId {
                kind: RouteKind::Http,
                namespace: String::new(),
                name: String::new(),
            }),
            index: 0,
            name: None,
            matches: vec![Match {
                path,
                ..Match::default()
            }],
            policies: Vec::new(),
            filters: Vec::new(),
            traffic: Arc::new(Traffic::default()),
            backends: Vec::new(),
            respond: None,
        }
    }

    /// Adds a backend with HTTP/1.1, without TLS, with weight 1. All backends that are added in this way
    /// receive equal shares of the requests.
    #[must_use]
    pub fn to(mut self, backend: &BackendId) -> Self {
        let backend = Backend {
            id: backend.clone(),
            protocol: BackendProtocol::Http1,
            tls: None,
            hosts: Vec::new(),
            fallback: false,
            dynamic: None,
        };
        self.backends.push(WeightedBackend {
            weight: 1,
            filters: Vec::new(),
            destination: Destination::Backend(Arc::new(backend)),
        });
        self
    }
}

impl BackendId {
    /// Creates the ID of the port `port` of a Service.
    pub fn service(namespace: &str, name: &str, port: u16) -> Self {
        Self {
            kind: BackendKind::Service,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            port,
        }
    }
}

impl<A: Into<EndpointAddress>> From<A> for Endpoint {
    /// Creates an endpoint with weight 1.
    fn from(address: A) -> Self {
        Self {
            address: address.into(),
            weight: 1,
            zone: None,
        }
    }
}

impl FromStr for Endpoint {
    type Err = AddrParseError;

    /// Parses an IP address and port, or an absolute path. The weight is 1.
    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        Ok(text.parse::<EndpointAddress>()?.into())
    }
}
