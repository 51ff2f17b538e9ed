//! What `resolve` is given and what it gives.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use towergate_core::plan::{BackendId, Endpoint, Endpoints, Plan};
use towergate_policy::Policy;
use towergate_tls::Provider;
use towergate_tls::server::UnknownName;

use crate::{Diagnostic, Statuses};

/// What `resolve` needs to know beside the objects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scope {
    /// GatewayClasses with this `controllerName` are ours.
    pub controller_name: String,
    /// Gateways whose GatewayClass is not among the objects are served, too.
    pub serve_unclassed: bool,
    /// Ports of Gateways that are bound as others, such as 80 as 8080.
    pub ports: BTreeMap<u16, u16>,
    /// TCP ports, as they are bound, that the data plane itself needs: no listener gets one.
    pub reserved: BTreeSet<u16>,
    /// Addresses to bind unless a Gateway has its own.
    pub bind: Vec<IpAddr>,
    /// Addresses to bind by Gateway (`namespace/name`).
    pub bind_gateway: BTreeMap<String, Vec<IpAddr>>,
    /// Addresses by which clients reach a Gateway (`namespace/name`): IP addresses or host names, for its
    /// status. `None`: those that are bound. `Some`: no others; a Gateway that has none here is not
    /// programmed.
    pub assigned: Option<BTreeMap<String, Vec<String>>>,
    /// Endpoints of Services that have none among the objects.
    pub endpoints: BTreeMap<BackendId, Vec<Endpoint>>,
    /// The time for certificates' validity, seconds since the epoch; `None`: not looked at.
    pub now: Option<i64>,
    /// What a client gets whose server name no certificate of the listener covers.
    pub unknown_name: UnknownName,
    /// Crypto provider that checks private keys. Default: aws-lc-rs, with the feature of this name.
    pub provider: Option<Provider>,
    /// Envoy's behaviour where Towergate's differs on purpose.
    pub parity: Parity,
    /// Whether statuses are wanted: without an API server nobody reads them, and of many routes they are
    /// a good part of the work.
    pub statuses: bool,
}

impl Default for Scope {
    /// Envoy Gateway's controller name, Gateways without a class too, ports as they are, on all IPv4
    /// addresses.
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
            parity: Parity::default(),
            statuses: true,
        }
    }
}

/// Switches for Envoy's behaviour where Towergate's differs on purpose.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Parity {
    /// See [`ListenerSettings::strict_host`](towergate_core::plan::ListenerSettings).
    pub strict_host: bool,
    /// See [`ListenerSettings::keep_external_address`](towergate_core::plan::ListenerSettings).
    pub keep_external_address: bool,
}

/// What the objects mean.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolution {
    /// What to serve.
    pub plan: Plan<Policy>,
    /// Addresses of backends.
    pub endpoints: Endpoints,
    /// What to tell the users, by object; empty if [`Scope::statuses`] is not set.
    pub statuses: Statuses,
    /// What is wrong or suspicious, with its place.
    pub diagnostics: Vec<Diagnostic>,
}
