//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use ipnet::IpNet;
use towergate_core::plan::DynamicTargets;
use towergate_k8s::ObjectKey;
use towergate_policy::common::DurationText;
use towergate_policy::global_rate_limit::RateLimitService;

use crate::address_pool::parse_network;
use crate::ingresses::IngressOptions;

/// Serves the Gateways of a Kubernetes cluster with Towergate.
#[derive(Debug, Parser)]
#[command(name = "towergate-controller", version)]
pub(crate) struct Args {
    /// `spec.controllerName` of the GatewayClasses that this controller serves.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "towergate.dev/gateway-controller"
    )]
    pub(crate) controller_name: String,
    /// Which data planes serve Gateways.
    #[arg(long, value_enum, default_value_t = Mode::Shared)]
    pub(crate) mode: Mode,
    /// With --mode shared: network from which Gateways receive addresses. The data plane must be able to bind
    /// all addresses of the network. Can be repeated.
    #[arg(long, value_name = "CIDR", value_parser = parse_network)]
    pub(crate) address_pool: Vec<IpNet>,
    /// Address in one of the --address-pool networks that is assigned only to Gateways that request it in
    /// `spec.addresses`. Can be repeated.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address_exclude: Vec<IpAddr>,
    /// Address on which data planes connect.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:18000")]
    pub(crate) listen: SocketAddr,
    /// With --mode shared: folder to write the credentials of the data plane to, for its flag --credentials.
    #[arg(long, value_name = "DIR")]
    pub(crate) plane_credentials: Option<PathBuf>,
    /// With --mode provisioned: JSON file with the options of data planes.
    #[arg(long, value_name = "FILE")]
    pub(crate) data_plane: Option<PathBuf>,
    /// Do not use objects of kind Backend: requests to them receive 500.
    #[arg(long)]
    pub(crate) no_backends: bool,
    /// Folder of the data planes whose Unix domain sockets Backends may use as endpoints, such as /run/backends. Can be
    /// repeated. Default: none, requests to such an endpoint receive 500.
    #[arg(long = "backend-socket-folder", value_name = "DIR")]
    pub(crate) backend_socket_folders: Vec<PathBuf>,
    /// Allow Backends of type `DynamicResolver`, which send each request to the host that the
    /// request names. Only public addresses are permitted: no private, loopback, link-local or
    /// metadata address. Default: requests to such a Backend receive 500.
    #[arg(long)]
    pub(crate) dynamic_resolver: bool,
    /// Network that Backends of type `DynamicResolver` may reach although it is not public, such as 10.1.0.0/16. Data
    /// planes reach no loopback or link-local address in any case. Can be repeated.
    #[arg(long, value_name = "CIDR", value_parser = parse_network, requires = "dynamic_resolver")]
    pub(crate) dynamic_resolver_allow: Vec<IpNet>,
    /// Network that Backends of type `DynamicResolver` never reach, such as the public addresses of the Gateways.
    /// Takes precedence over --dynamic-resolver-allow. Can be repeated.
    #[arg(long, value_name = "CIDR", value_parser = parse_network, requires = "dynamic_resolver")]
    pub(crate) dynamic_resolver_deny: Vec<IpNet>,
    /// Name of the Secret with the CA of controllers and data planes, in the namespace of the Lease. Created
    /// if it does not exist.
    #[arg(long, value_name = "NAME", default_value = "towergate-authority")]
    pub(crate) authority_secret: String,
    /// Secret with the keys of OpenID Connect sessions. Each of its values is a key of at least 32
    /// bytes. The key whose name sorts first encrypts; all keys decrypt. Default: the Secret
    /// of --session-secret.
    #[arg(long, value_name = "NAMESPACE/SECRET", value_parser = parse_object_name)]
    pub(crate) session_keys: Option<ObjectKey>,
    /// Name of the Secret with the keys of OpenID Connect sessions, in the namespace of the Lease. Created
    /// with a random key if it does not exist. Not used with --session-keys.
    #[arg(long, value_name = "NAME", default_value = "towergate-session-keys")]
    pub(crate) session_secret: String,
    /// Path of a GeoIP database (MaxMind DB) on the data planes, for `clientIPGeoLocations`. Can be repeated. Default:
    /// policies with `clientIPGeoLocations` are rejected.
    #[arg(long = "geoip-database", value_name = "FILE")]
    pub(crate) geoip_databases: Vec<PathBuf>,
    /// Service that counts requests for global rate limits over Envoy's gRPC protocol, such as
    /// envoyproxy/ratelimit. Default: policies with global limits are invalid.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) rate_limit_service: Option<RateLimitService>,
    /// Timeout of calls to the rate limit service. Default: 20 ms.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "rate_limit_service")]
    pub(crate) rate_limit_timeout: Option<Duration>,
    /// Return 500 while the rate limit service does not respond. Default: these requests are
    /// allowed.
    #[arg(long, requires = "rate_limit_service")]
    pub(crate) rate_limit_fail_closed: bool,
    /// Serve the Ingresses of this class with the translation of `towergate migrate`. A path with an
    /// access restriction that cannot be translated returns 500, and an Event on its Ingress reports it.
    #[arg(long, value_name = "NAME")]
    pub(crate) ingress_class: Option<String>,
    /// Gateway that serves the Ingresses. This controller creates and updates the Gateway. Its namespace must
    /// exist. Default: the namespace of the Lease, and the name of the class.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = parse_object_name, requires = "ingress_class")]
    pub(crate) ingress_gateway: Option<ObjectKey>,
    /// GatewayClass of the Gateway that serves the Ingresses.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "towergate",
        requires = "ingress_class"
    )]
    pub(crate) ingress_gateway_class: String,
    /// Namespace of the Lease for leader election. Default: the namespace of the pod.
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) lease_namespace: Option<String>,
    /// Name of the Lease.
    #[arg(long, value_name = "NAME", default_value = "towergate-controller")]
    pub(crate) lease_name: String,
    /// Identity of this controller in the Lease. Default: the host name with a random suffix.
    #[arg(long, value_name = "NAME")]
    pub(crate) identity: Option<String>,
    /// Address for /healthz, /readyz and /metrics.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
    pub(crate) admin: SocketAddr,
    /// Log level, or directives such as `info,towergate_controller=debug`.
    ///
    /// The default turns off the log of the API client, which repeats errors that the controller logs.
    #[arg(long, value_name = "FILTER", default_value = "info,kube_client=off")]
    pub(crate) log: String,
    /// Format of the log.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

impl Args {
    /// The Ingresses to serve. `namespace` is that of the Lease.
    pub(crate) fn ingresses(&self, namespace: &str) -> Option<IngressOptions> {
        let class = self.ingress_class.clone()?;
        let gateway = self.ingress_gateway.clone();
        Some(IngressOptions {
            gateway: gateway.unwrap_or_else(|| ObjectKey::new(namespace, class.as_str())),
            gateway_class: self.ingress_gateway_class.clone(),
            class,
        })
    }

    /// The service that counts requests for global rate limits.
    pub(crate) fn rate_limit_service(&self) -> Option<RateLimitService> {
        let service = self.rate_limit_service.clone()?;
        Some(RateLimitService {
            timeout: self.rate_limit_timeout.unwrap_or(service.timeout),
            fail_closed: self.rate_limit_fail_closed,
            ..service
        })
    }

    /// Addresses that Backends of type `DynamicResolver` may reach; `None`: the type is rejected.
    pub(crate) fn dynamic_targets(&self) -> Option<DynamicTargets> {
        self.dynamic_resolver.then(|| DynamicTargets {
            allowed: self.dynamic_resolver_allow.clone(),
            denied: self.dynamic_resolver_deny.clone(),
        })
    }
}

fn parse_object_name(text: &str) -> Result<ObjectKey, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok(ObjectKey::new(namespace, name))
        }
        _ => Err(format!("`{text}` is not NAMESPACE/NAME")),
    }
}

/// Which data planes serve Gateways.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Mode {
    /// One data plane that the user runs serves all Gateways, each on an address of the pool.
    Shared,
    /// The controller provisions data planes for each Gateway.
    Provisioned,
}

/// A log format.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line of text.
    Text,
    /// One JSON object per line.
    Json,
}

/// Parses a duration of Gateway API, such as `20ms` (GEP-2257).
fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed = DurationText(text.to_owned()).parse();
    parsed.ok_or_else(|| "expected a duration such as 20ms, 1s or 2m".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_definition_is_valid() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_rate_limit_service_has_the_settings_of_the_flags() {
        let service = |flags: &[&str]| {
            let command = [
                "towergate-controller",
                "--rate-limit-service=limits.svc:8081",
            ];
            let all = command.iter().chain(flags);
            let args = Args::try_parse_from(all).expect("valid arguments");
            args.rate_limit_service().expect("a service")
        };
        let defaults = service(&[]);
        let set = service(&["--rate-limit-timeout=1s", "--rate-limit-fail-closed"]);

        assert_eq!(
            (defaults.timeout, defaults.fail_closed),
            (Duration::from_millis(20), false)
        );
        assert_eq!(
            (set.timeout, set.fail_closed),
            (Duration::from_secs(1), true)
        );
        let alone = ["towergate-controller", "--rate-limit-timeout=1s"];
        assert!(Args::try_parse_from(alone).is_err());
    }

    #[test]
    fn networks_and_addresses_are_parsed() {
        let args = Args::try_parse_from([
            "towergate-controller",
            "--address-pool=10.0.0.0/24",
            "--address-exclude=10.0.0.9",
        ]);

        let args = args.expect("valid arguments");
        assert_eq!(args.address_pool.len(), 1);
        assert_eq!(args.address_exclude.len(), 1);
    }
}
