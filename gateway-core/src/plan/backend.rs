//! Backends of rules and their endpoints.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use towergate_tls::client::ClientTls;

use super::{DynamicTargets, EndpointAddress, Filter};

/// A backend of a rule with its weight and filters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightedBackend {
    /// Weight relative to the sum of the rule's weights. With weight 0, the backend receives no requests.
    pub weight: u32,
    /// Filters of the backendRef.
    pub filters: Vec<Filter>,
    /// Target of the requests.
    pub destination: Destination,
}

/// Target of a backendRef.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Destination {
    /// The reference cannot be resolved: requests return 500.
    Invalid,
    /// The resolved backend.
    Backend(Arc<Backend>),
}

/// A backend with its protocol and TLS settings.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    /// Key of the backend in [`Endpoints`].
    pub id: BackendId,
    /// Protocol of the requests.
    pub protocol: BackendProtocol,
    /// TLS settings of connections to the backend. `None`: connections do not use TLS.
    pub tls: Option<Arc<ClientTls>>,
    /// Hosts whose addresses are the endpoints. The data plane looks up these addresses. If the list is
    /// empty, the endpoints are those in [`Endpoints`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<DnsHost>,
    /// Whether this is a backend of last resort: it receives requests only while too few endpoints of the
    /// other backends are healthy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fallback: bool,
    /// Addresses that the gateway may reach if the endpoint is the host of each request. `None`: the
    /// endpoints are those of `id` or `hosts`. The port is that of the request; if the request has no port,
    /// 80, or 443 with TLS. If the server name in `tls` is empty, the host is used as the server name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic: Option<Arc<DynamicTargets>>,
}

/// A host name with a port.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct DnsHost {
    /// DNS name.
    pub name: String,
    /// TCP or UDP port.
    pub port: u16,
}

/// Protocol of a backend.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum BackendProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: negotiated by ALPN if the connection uses TLS, otherwise with prior knowledge.
    Http2,
}

/// Kind of a backend. Backends of different kinds may have the same name and port. The serialized form is the
/// text that `Display` writes. Kinds are ordered by this text.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum BackendKind {
    /// A Backend of Envoy Gateway.
    Backend,
    /// A rate limit service, whose address is part of the configuration of the program.
    RateLimitService,
    /// A TCP port of a Service.
    Service,
    /// The cluster address of a TCP port of a Service.
    #[serde(rename = "Service/ClusterIP")]
    ServiceAddress,
    /// A UDP port of a Service. It may have the same number as a TCP port.
    #[serde(rename = "Service/UDP")]
    UdpService,
    /// The cluster address of a UDP port of a Service.
    #[serde(rename = "Service/UDP/ClusterIP")]
    UdpServiceAddress,
    /// The origin of a URL, such as that of an OpenID provider.
    #[serde(rename = "URL")]
    Url,
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backend => "Backend",
            Self::RateLimitService => "RateLimitService",
            Self::Service => "Service",
            Self::ServiceAddress => "Service/ClusterIP",
            Self::UdpService => "Service/UDP",
            Self::UdpServiceAddress => "Service/UDP/ClusterIP",
            Self::Url => "URL",
        })
    }
}

/// Name of a backend, which is the port of a Service or an object of another kind.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct BackendId {
    /// Kind.
    pub kind: BackendKind,
    /// Namespace.
    pub namespace: String,
    /// Name in the namespace.
    pub name: String,
    /// Port in the backendRef. 0 for a kind whose endpoints have their own ports.
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

/// An endpoint of a backend.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Endpoint {
    /// Address to connect to.
    pub address: EndpointAddress,
    /// Weight relative to the other endpoints of the backend.
    pub weight: u32,
    /// Zone of the endpoint (`topology.kubernetes.io/zone`). `None`: the zone is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Arc<str>>,
}

/// Endpoints of all backends. They are sorted and contain no duplicates. They are updated independently of
/// the plan.
pub type Endpoints = BTreeMap<BackendId, Vec<Endpoint>>;
