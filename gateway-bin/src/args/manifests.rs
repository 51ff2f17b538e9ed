//! Arguments of all commands that read manifests.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use towergate_core::plan::DynamicTargets;
use towergate_policy::global_rate_limit::RateLimitService;

use crate::flags::{Bind, EndpointOverride, PortMap, Seconds, SecretName};

/// The manifests and the options of their resolution.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ManifestArgs {
    /// Folders or files of manifests.
    #[arg(required = true, value_name = "DIR")]
    pub(crate) paths: Vec<PathBuf>,
    /// Serve GatewayClasses with this controller name. Gateways whose GatewayClass is not in the folders are
    /// also served.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "gateway.envoyproxy.io/gatewayclass-controller"
    )]
    pub(crate) controller_name: String,
    /// Bind a port of the Gateways as another port, such as 80=8080. Can be repeated or separated by commas.
    #[arg(long = "port", value_name = "PORT=BOUND", value_delimiter = ',')]
    pub(crate) ports: Vec<PortMap>,
    /// Address to bind, for all Gateways or for one Gateway (NAMESPACE/NAME=ADDR). Can be repeated. Default:
    /// all IPv4 addresses.
    #[arg(long, value_name = "[GATEWAY=]ADDR")]
    pub(crate) bind: Vec<Bind>,
    /// Address that replaces the endpoints of a Service port. Can be repeated.
    #[arg(long = "endpoint", value_name = "NAMESPACE/SERVICE:PORT=ADDR:PORT")]
    pub(crate) endpoints: Vec<EndpointOverride>,
    /// Report unknown fields, and unknown kinds in the API groups of Gateway API and Envoy Gateway, as errors.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Reject TLS clients that send no server name, or a server name that no certificate covers.
    /// Default: as in Envoy, these clients receive the first certificate of the listener.
    #[arg(long)]
    pub(crate) refuse_unknown_sni: bool,
    /// Secret with the keys of OpenID Connect sessions. Each of its values is a key of at least 32 bytes. The
    /// key whose name sorts first encrypts; all keys decrypt. Default: each policy derives its own key from
    /// its client secret.
    #[arg(long, value_name = "NAMESPACE/SECRET")]
    pub(crate) session_keys: Option<SecretName>,
    /// GeoIP database (MaxMind DB: City, Country, Enterprise, ASN, ISP or Anonymous-IP) for `clientIPGeoLocations`. Read
    /// again when the file changes. Can be repeated. Default: policies with `clientIPGeoLocations` are rejected.
    #[arg(long = "geoip-database", value_name = "FILE")]
    pub(crate) geoip_databases: Vec<PathBuf>,
    /// Also serve the Ingresses of this class on the Gateway `ingress-nginx/NAME`, with the
    /// translation of `towergate migrate`. A path with an access restriction that cannot be translated
    /// returns 500.
    #[arg(long, value_name = "NAME")]
    pub(crate) ingress_class: Option<String>,
    #[command(flatten)]
    pub(crate) rate_limit: RateLimitArgs,
    /// Behave like Envoy where Towergate differs intentionally.
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub(crate) parity: Vec<ParityFlag>,
    /// Do not use objects of kind Backend: requests to them receive 500.
    #[arg(long)]
    pub(crate) no_backends: bool,
    /// Folder whose Unix domain sockets Backends may use as endpoints, such as /run/backends. Can be repeated.
    /// Default: none, requests to such an endpoint receive 500.
    #[arg(long = "backend-socket-folder", value_name = "DIR")]
    pub(crate) backend_socket_folders: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) dynamic_resolver: DynamicResolverArgs,
}

/// Addresses that Backends of type `DynamicResolver` may reach.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct DynamicResolverArgs {
    /// Allow Backends of type `DynamicResolver`, which send each request to the host that the
    /// request names. Only public addresses are permitted: no private, loopback, link-local or
    /// metadata address. Default: requests to such a Backend receive 500.
    #[arg(long = "dynamic-resolver")]
    pub(crate) enabled: bool,
    /// Network that Backends of type `DynamicResolver` may reach although it is not public, such as 10.1.0.0/16. Can
    /// be repeated.
    #[arg(
        long = "dynamic-resolver-allow",
        value_name = "CIDR",
        value_parser = network,
        requires = "enabled"
    )]
    pub(crate) allowed: Vec<IpNet>,
    /// Network that Backends of type `DynamicResolver` never reach, such as the public addresses of this gateway. Takes
    /// precedence over --dynamic-resolver-allow. Can be repeated.
    #[arg(
        long = "dynamic-resolver-deny",
        value_name = "CIDR",
        value_parser = network,
        requires = "enabled"
    )]
    pub(crate) denied: Vec<IpNet>,
}

/// Parses a network in CIDR notation, without leading zeros.
fn network(text: &str) -> Result<IpNet, &'static str> {
    towergate_policy::parse_cidr(text).ok_or("expected a network such as 10.1.0.0/16")
}

impl DynamicResolverArgs {
    /// The networks that Backends of type `DynamicResolver` may reach. `None`: these Backends are rejected.
    pub(crate) fn targets(&self) -> Option<DynamicTargets> {
        self.enabled.then(|| DynamicTargets {
            allowed: self.allowed.clone(),
            denied: self.denied.clone(),
        })
    }
}

/// The service that counts requests for global rate limits.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RateLimitArgs {
    /// Service that counts requests for global rate limits over Envoy's gRPC protocol, such as
    /// envoyproxy/ratelimit. `towergate rate-limits` writes its configuration. Default: policies
    /// with global limits are invalid.
    #[arg(long = "rate-limit-service", value_name = "HOST:PORT")]
    pub(crate) service: Option<RateLimitService>,
    /// Timeout of the service. Default: 20ms.
    #[arg(long = "rate-limit-timeout", value_name = "TIME", requires = "service")]
    pub(crate) timeout: Option<Seconds>,
    /// Return 500 while the service does not respond. Default: these requests are allowed.
    #[arg(long = "rate-limit-fail-closed", requires = "service")]
    pub(crate) fail_closed: bool,
}

impl RateLimitArgs {
    /// The service that the arguments describe. `None`: no service.
    pub(crate) fn service(&self) -> Option<RateLimitService> {
        let service = self.service.clone()?;
        Some(RateLimitService {
            timeout: self.timeout.map_or(service.timeout, |time| time.0),
            fail_closed: self.fail_closed,
            ..service
        })
    }
}

/// A deliberate difference from Envoy that can be turned off.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ParityFlag {
    /// Return 404 if no rule of the most specific matching hostname matches, without trying less specific hostnames.
    StrictHost,
    /// Forward a client's own x-envoy-external-address header where Envoy forwards it.
    ExternalAddress,
    /// Respond to cross-origin requests like Envoy: send the origin instead of "*", and no Vary.
    Cors,
}
