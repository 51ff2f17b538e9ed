//! Options and result of [`resolve`](super::resolve).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use towergate_core::plan::{BackendId, DynamicTargets, Endpoint, Endpoints, Plan};
use towergate_policy::Policy;
use towergate_policy::global_rate_limit::RateLimitService;
use towergate_tls::Provider;
use towergate_tls::server::UnknownName;

use crate::{Diagnostic, ObjectKey, Statuses};

/// Options of [`resolve`](super::resolve).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResolveOptions {
    /// `controllerName` of the GatewayClasses of this controller.
    pub controller_name: String,
    /// Whether Gateways whose GatewayClass does not exist are served.
    pub serve_unclassed: bool,
    /// The port to bind, by port of a Gateway, such as 8080 for 80. Ports that are bound unchanged have no
    /// entry.
    pub ports: BTreeMap<u16, u16>,
    /// Bound TCP ports that the data plane itself uses. No listener can use them.
    pub reserved: BTreeSet<u16>,
    /// Default addresses to bind.
    pub bind: Vec<IpAddr>,
    /// Addresses to bind, by Gateway (`namespace/name`).
    pub bind_gateway: BTreeMap<String, Vec<IpAddr>>,
    /// Addresses in the status, by Gateway (`namespace/name`): IP addresses or hostnames. `None`: the bound
    /// addresses. A Gateway without an entry is not programmed.
    pub assigned: Option<BTreeMap<String, Vec<String>>>,
    /// Endpoints of Services that have no EndpointSlice.
    pub endpoints: BTreeMap<BackendId, Vec<Endpoint>>,
    /// Time for checks of certificates, in seconds since the epoch. `None`: no checks.
    pub now: Option<i64>,
    /// Response to a TLS server name that no certificate of the listener covers.
    pub unknown_name: UnknownName,
    /// Crypto provider that checks private keys. Default: aws-lc-rs, if the feature `aws-lc-rs` is enabled.
    pub provider: Option<Provider>,
    /// Secret with the keys of OpenID Connect sessions. Each of its values is a key. The key with the first
    /// name seals new sessions; every key opens sessions. `None`: each policy derives its key from its client
    /// secret.
    pub session_keys: Option<ObjectKey>,
    /// Secret with keys of OpenID Connect sessions that the controller has created, for use without `session_keys`.
    /// While it does not exist, policies with `oidc` are invalid.
    pub own_session_keys: Option<ObjectKey>,
    /// Files of the GeoIP databases on the data planes. Empty: `clientIPGeoLocations` are rejected.
    pub geoip_databases: Vec<PathBuf>,
    /// Service that counts global rate limits. `None`: policies with global limits are invalid.
    pub rate_limit_service: Option<RateLimitService>,
    /// Switches for behaviour of Envoy.
    pub parity: Parity,
    /// Use of kind Backend.
    pub backends: BackendUse,
    /// Whether one process serves all Gateways. Settings of the process then come from a single EnvoyProxy.
    /// Default: `false`, a process for each Gateway.
    pub one_process: bool,
    /// Whether to produce statuses. With many routes, statuses take a large part of the time of a resolution.
    pub statuses: bool,
}

impl Default for ResolveOptions {
    /// Options with the controller name of Envoy Gateway that also serve Gateways without a class, on
    /// unchanged ports of all IPv4 addresses.
    fn default() -> Self {
        Self {
            controller_name: "gateway.envoyproxy.io/gatewayclass-controller".to_owned(),
            serve_unclassed: true,
            ports: BTreeMap::new(),
            reserved: BTreeSet::new(),
            bind: vec![Ipv4Addr::UNSPECIFIED.into()],
            bind_gateway: BTreeMap::new(),
            assigned: None,
            endpoints: BTreeMap::new(),
            now: None,
            unknown_name: UnknownName::default(),
            provider: None,
            session_keys: None,
            own_session_keys: None,
            geoip_databases: Vec::new(),
            rate_limit_service: None,
            parity: Parity::default(),
            backends: BackendUse::default(),
            one_process: false,
            statuses: true,
        }
    }
}

/// Switches for behaviour in which Towergate intentionally differs from Envoy.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Parity {
    /// See [`ListenerSettings::strict_host`](towergate_core::plan::ListenerSettings).
    pub strict_host: bool,
    /// See [`ListenerSettings::keep_external_address`](towergate_core::plan::ListenerSettings).
    pub keep_external_address: bool,
    /// See [`Cors::as_envoy`](towergate_core::filter::Cors).
    pub cors: bool,
}

/// Use of kind Backend of Envoy Gateway.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BackendUse {
    /// Whether a backendRef may refer to a Backend. Default: `true`.
    pub enabled: bool,
    /// Whether endpoints may be loopback, link-local and unspecified addresses. Default: `true`. In a
    /// cluster, these addresses reach the data plane itself, with its admin endpoints, its node, and the
    /// metadata service of the cloud.
    pub loopback: bool,
    /// Addresses that Backends of type `DynamicResolver` may reach. `None`: the type is rejected. Default: `None`.
    pub dynamic: Option<Arc<DynamicTargets>>,
    /// Folders on the machine of the data plane. Endpoints may be Unix domain sockets in these folders.
    /// Default: none.
    pub socket_folders: Vec<PathBuf>,
}

impl Default for BackendUse {
    /// Backends with any address.
    fn default() -> Self {
        Self {
            enabled: true,
            loopback: true,
            dynamic: None,
            socket_folders: Vec::new(),
        }
    }
}

/// Result of [`resolve`](super::resolve).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolution {
    /// The plan of the data plane.
    pub plan: Plan<Policy>,
    /// Endpoints of the backends.
    pub endpoints: Endpoints,
    /// Statuses by object. Empty if [`ResolveOptions::statuses`] is `false`.
    pub statuses: Statuses,
    /// Findings with their places.
    pub diagnostics: Vec<Diagnostic>,
}
