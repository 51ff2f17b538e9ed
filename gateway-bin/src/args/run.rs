//! Arguments of `run`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use towergate_policy::envoy_proxy::LogCondition;

use super::ManifestArgs;
use crate::flags::{AccessLogFormat, ControllerAddress, OffOr, Seconds};

pub(super) const RUN_EXAMPLES: &str = "\
Examples:
  Serve ports 80 and 443 of the Gateways as 8080 and 8443, on loopback:
    towergate run manifests/ --port 80=8080,443=8443 --bind 127.0.0.1
  Send requests for a Service to a process on this machine:
    towergate run manifests/ --endpoint team-a/echo:80=127.0.0.1:9000
  Serve two Gateways with the same ports on an address each:
    towergate run manifests/ --bind edge/public=192.0.2.1 --bind edge/internal=10.0.0.1
  Let the built-in echo backend serve a Service, with this in its manifest:
    metadata: {annotations: {towergate.dev/echo: \"true\"}}
  Serve the configuration of a controller:
    towergate run --from https://towergate-controller.towergate-system:18000 \\
      --credentials /var/run/towergate --state /var/lib/towergate";

/// Arguments of `run`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) manifests: ManifestArgs,
    /// Serve the configuration of the controller at this address, such as `https://controller.example:18000`.
    #[arg(long, value_name = "URL", requires = "credentials", conflicts_with_all = ["paths", "ports", "bind", "endpoints", "strict", "refuse_unknown_sni", "session_keys", "geoip_databases", "service", "parity", "no_backends", "backend_socket_folders", "enabled", "ingress_class"])]
    pub(crate) from: Option<ControllerAddress>,
    /// Folder with ca.crt, tls.crt and tls.key for --from. Read again when the files change.
    #[arg(long, value_name = "DIR", requires = "from")]
    pub(crate) credentials: Option<PathBuf>,
    /// Folder in which the configuration is stored, including private keys. After a restart, this
    /// configuration is served again.
    #[arg(long, value_name = "DIR", requires = "from")]
    pub(crate) state: Option<PathBuf>,
    /// Number of worker threads. Default: one per CPU.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,
    /// Share ports with other processes that listen on them with SO_REUSEPORT, such as another towergate. For an
    /// upgrade without lost connections see --hand-over. Default: a port in use is an error.
    #[arg(long)]
    pub(crate) reuse_port: bool,
    /// Unix socket for upgrades that lose no connection. A new process with the same path takes over the listening
    /// sockets of the running process, which then drains and exits.
    #[arg(long, value_name = "PATH")]
    pub(crate) hand_over: Option<PathBuf>,
    /// Name server for the host names of Backends. Can be repeated. Default: the name servers of the system.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) dns_server: Vec<SocketAddr>,
    /// Zone of this gateway (label topology.kubernetes.io/zone of its node), for `loadBalancer.zoneAware.preferLocal` of
    /// BackendTrafficPolicies. Default: none, no zone is preferred.
    #[arg(long, value_name = "ZONE")]
    pub(crate) zone: Option<String>,
    /// Address of the admin endpoints (/live, /ready, /stats/prometheus, /config, /version), or `off`.
    #[arg(long, value_name = "ADDR|off", default_value = "127.0.0.1:19000")]
    pub(crate) admin: OffOr<SocketAddr>,
    /// Address of a server with only /live, /ready and /stats/prometheus, for load balancers, probes and
    /// Prometheus.
    #[arg(long, value_name = "ADDR")]
    pub(crate) health: Option<SocketAddr>,
    /// File of the access log, `-` for standard output, or `off`.
    #[arg(long, value_name = "PATH|-|off", default_value = "-")]
    pub(crate) access_log: OffOr<PathBuf>,
    /// Format of the access log: json (Envoy Gateway's), text (Envoy's line), or a string or JSON object with operators
    /// such as %RESPONSE_CODE%.
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    pub(crate) access_log_format: AccessLogFormat,
    /// Condition for access log entries, in CEL, such as `response.code >= 400`. Can be repeated: an entry is written
    /// if any condition holds.
    #[arg(long, value_name = "CEL")]
    pub(crate) access_log_match: Vec<LogCondition>,
    /// Format of the log on standard error.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Log level: error, warn, info, debug, trace, or directives such as `towergate_core=debug`.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log: String,
    /// Time limit for requests in flight when the gateway shuts down, such as 30s.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) drain_timeout: Seconds,
    /// Interval at which folders are read for changes that the system did not report, and at which
    /// binding of unbound ports is retried, such as 30s.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) poll_interval: Seconds,
    /// Do not print the listeners and the example requests at startup.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// The controller of `run --from`.
#[derive(Clone, Debug)]
pub(crate) struct ControllerArgs {
    /// Its address.
    pub(crate) address: ControllerAddress,
    /// Folder of the credentials.
    pub(crate) credentials: PathBuf,
    /// Folder of the state file.
    pub(crate) state: Option<PathBuf>,
    /// Interval at which a configuration that is not fully in service is applied again.
    pub(crate) retry: Duration,
}

/// A log format.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One JSON object per line.
    Json,
    /// One line of text.
    Text,
}

impl RunArgs {
    /// The controller of `--from`, if given.
    pub(crate) fn controller(&self) -> Option<ControllerArgs> {
        Some(ControllerArgs {
            address: self.from.clone()?,
            credentials: self.credentials.clone()?,
            state: self.state.clone(),
            retry: self.poll_interval.0,
        })
    }

    /// Time limit for requests in flight at shutdown.
    pub(crate) fn drain_timeout(&self) -> Duration {
        self.drain_timeout.0
    }
}
