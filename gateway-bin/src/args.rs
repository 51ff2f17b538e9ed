//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use ipnet::IpNet;

use towergate_core::plan::DynamicTargets;
use towergate_policy::envoy_proxy::LogCondition;
use towergate_policy::global_rate_limit::RateLimitService;

use crate::flags::{
    AccessLogFormat, Bind, ControllerAddress, EndpointOverride, OffOr, PortMap, Seconds, SecretName,
};

/// A Gateway API gateway that serves a folder of manifests.
///
/// Towergate reads the manifests that Envoy Gateway reads (Gateway, HTTPRoute, GRPCRoute, TLSRoute, TCPRoute,
/// UDPRoute, Service, Secret, ClientTrafficPolicy and others) from folders and serves them. No cluster is needed.
/// Changes of the files take effect at once, without closing a connection. An object that becomes unreadable keeps
/// its last good version.
#[derive(Debug, Parser)]
#[command(
    name = "towergate",
    version,
    propagate_version = true,
    after_help = "\
Examples:
  towergate run examples/quickstart          Serve a folder and print requests to try
  towergate check manifests/                 Report errors before they are served
  kubectl get gateways,httproutes -A -o yaml | towergate check -
                                             Check manifests on standard input
  towergate status manifests/                Print the Gateway API status of each object
  towergate dev-cert app.test --out certs/   Create a certificate for HTTPS tests"
)]
pub(crate) struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The command to run.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve folders of manifests.
    ///
    /// Reads all *.yaml, *.yml and *.json files in the given folders and below, serves them, and applies changes as
    /// they happen. Objects that become unreadable keep their last good version. SIGHUP reads all files again and
    /// reopens the access log. SIGTERM and SIGINT let requests in flight finish, then exit.
    ///
    /// With --from, configurations come from a controller and no folders are given. While the controller is
    /// unreachable, the last configuration stays in service.
    #[command(display_name = "towergate", after_help = RUN_EXAMPLES, mut_arg("paths", |paths| paths.required_unless_present("from").required(false)))]
    Run(Box<RunArgs>),
    /// Report errors in manifests without serving them.
    ///
    /// Prints errors and warnings with file, line and advice. `-` reads manifests from standard input. Exit status: 0
    /// without errors (warnings do not count), 1 if there are errors (with --strict also for warnings), 2 if a file
    /// cannot be read or there is no manifest at all.
    #[command(
        display_name = "towergate",
        after_help = "\
Examples:
  towergate check manifests/
  helm template chart/ | towergate check -
  towergate check --strict --format json manifests/ > findings.json"
    )]
    Check(CheckArgs),
    /// Print the status of each object, as `kubectl get -o yaml` does.
    ///
    /// Prints one YAML document per object that has a status: GatewayClasses, Gateways with their listeners, routes
    /// with their parents, policies with their ancestors. `-` reads manifests from standard input. Conditions have no
    /// lastTransitionTime, because files carry no history: equal manifests give equal output. Unreadable objects are
    /// reported on standard error. Exit status: 0 if all objects are readable, 1 if one is not, 2 if a file or folder
    /// cannot be read.
    #[command(display_name = "towergate")]
    Status(ManifestArgs),
    /// Print the configuration of the service that counts requests for global rate limits.
    ///
    /// Prints one YAML document per domain in the format of envoyproxy/ratelimit. With --out,
    /// writes one file per domain into a folder, from which the service reads them. Exit status: 0
    /// if all objects are readable, 1 if one is not, 2 if a file cannot be read or written.
    #[command(display_name = "towergate")]
    RateLimits(RateLimitsArgs),
    /// Translate Ingresses of ingress-nginx to Gateway API.
    ///
    /// Reads Ingresses with the IngressClasses, Services, Secrets, ConfigMaps, and the controller's
    /// Deployment or Helm values in the given folders and below. `-` reads manifests from standard
    /// input. Writes one file per namespace with --out, and prints a verdict on each annotation,
    /// ConfigMap key and flag. Exit status: 0; 1 if a verdict is --fail-on or worse, or a manifest
    /// is invalid; 2 if a file cannot be read or written.
    #[command(display_name = "towergate", after_help = MIGRATE_EXAMPLES)]
    Migrate(MigrateArgs),
    /// Send the requests of an access log of ingress-nginx again and compare the responses.
    ///
    /// Reads the default format of ingress-nginx, also with `$host` or `$scheme://$host` in front. `-` reads standard
    /// input. With Ingresses in DIR, the hosts of the requests are derived from the names of the backends. Without
    /// --against, a model of ingress-nginx and the translation, both in this process, serve the requests. With
    /// --against OLD,NEW, both running gateways do. With --against NEW, the status is compared with that in the log.
    /// Each distinct request is sent once. Header fields and bodies are not in the log and are not sent. Exit status:
    /// 0 if all responses are equal, 1 if some differ, 2 if no request can be sent.
    #[command(display_name = "towergate", after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
    /// Serve a backend that returns each request as JSON.
    ///
    /// The response contains method, path, headers, size of the body and the address of the client. Supports HTTP/1.1
    /// and HTTP/2 with prior knowledge.
    #[command(display_name = "towergate")]
    Echo(EchoArgs),
    /// Create a self-signed certificate.
    ///
    /// Creates an ECDSA P-256 certificate for the given names, for tests. Without --out, it is printed as a Secret
    /// manifest that a Gateway can refer to.
    #[command(
        display_name = "towergate",
        after_help = "\
Examples:
  towergate dev-cert team-a.example.com '*.team-b.example.com' --out certs/
  towergate dev-cert team-a.example.com --secret gateway/team-a-tls > secret.yaml"
    )]
    DevCert(DevCertArgs),
    /// Print a completion script for a shell.
    ///
    /// For bash: towergate completions bash > /etc/bash_completion.d/towergate
    #[command(display_name = "towergate")]
    Completions(CompletionArgs),
    /// Print the manual page in roff format.
    ///
    /// Read it with: towergate man | man -l -
    #[command(display_name = "towergate")]
    Man,
}

const MIGRATE_EXAMPLES: &str = "\
Examples:
  towergate migrate cluster/ --out gateway/
  kubectl get ingresses,ingressclasses,services,configmaps,secrets,deployments -A -o yaml | towergate migrate - --out gateway/
  towergate migrate cluster/ --prove
  towergate migrate cluster/ --format json --fail-on impossible > report.json";

const REPLAY_EXAMPLES: &str = "\
Examples:
  towergate replay access.log cluster/
  kubectl logs -n ingress-nginx deploy/ingress-nginx-controller --tail=10000 |
    towergate replay - cluster/ --against https://OLD-ADDRESS,https://NEW-ADDRESS
  towergate replay access.log --host app.example.com --against http://NEW-ADDRESS";

const RUN_EXAMPLES: &str = "\
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

/// The manifests and the options of their resolution.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ManifestArgs {
    /// Folders or files of manifests.
    #[arg(required = true, value_name = "DIR")]
    pub(crate) paths: Vec<PathBuf>,
    /// Controller name whose GatewayClasses are served. Gateways whose GatewayClass is not in the
    /// folders are also served.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "gateway.envoyproxy.io/gatewayclass-controller"
    )]
    pub(crate) controller_name: String,
    /// Bind a port of the Gateways as another port, such as 80=8080. Can be repeated or separated by commas.
    #[arg(long = "port", value_name = "PORT=BOUND", value_delimiter = ',')]
    pub(crate) ports: Vec<PortMap>,
    /// Address to bind, for all Gateways or for one (NAMESPACE/NAME=ADDR). Can be repeated. Default: all IPv4
    /// addresses.
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
    /// Secret with the keys of OpenID Connect sessions. Each of its values is a key of at least 32
    /// bytes. The key with the first name seals; all keys open. Default: each policy derives its
    /// key from its client secret.
    #[arg(long, value_name = "NAMESPACE/SECRET")]
    pub(crate) session_keys: Option<SecretName>,
    /// GeoIP database (MaxMind DB: City, Country, Enterprise, ASN, ISP or Anonymous-IP) for `clientIPGeoLocations`. Read
    /// again when the file changes. Can be repeated. Default: policies with `clientIPGeoLocations` are rejected.
    #[arg(long = "geoip-database", value_name = "FILE")]
    pub(crate) geoip_databases: Vec<PathBuf>,
    /// Also serve the Ingresses of this class on the Gateway `ingress-nginx/NAME`, with the
    /// translation of `towergate migrate`. A path whose guard cannot be translated returns 500.
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
        requires = "enabled"
    )]
    pub(crate) allowed: Vec<IpNet>,
    /// Network that Backends of type `DynamicResolver` never reach, such as the public addresses of this gateway. Takes
    /// precedence over --dynamic-resolver-allow. Can be repeated.
    #[arg(
        long = "dynamic-resolver-deny",
        value_name = "CIDR",
        requires = "enabled"
    )]
    pub(crate) denied: Vec<IpNet>,
}

impl DynamicResolverArgs {
    /// The addresses; `None`: such Backends are rejected.
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
    /// The service with its settings.
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

/// Arguments of `rate-limits`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RateLimitsArgs {
    #[command(flatten)]
    pub(crate) manifests: ManifestArgs,
    /// Folder for the files, `towergate_DOMAIN.yaml`. Files of this name that are no longer needed are removed.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// Arguments of `run`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) manifests: ManifestArgs,
    /// Serve the configuration of the controller at this address, such as `https://controller.example:18000`.
    #[arg(long, value_name = "URL", requires = "credentials", conflicts_with_all = ["paths", "ports", "bind", "endpoints", "strict", "refuse_unknown_sni", "session_keys", "geoip_databases", "service", "parity", "no_backends", "enabled", "ingress_class"])]
    pub(crate) from: Option<ControllerAddress>,
    /// Folder with ca.crt, tls.crt and tls.key for --from. Read again when the files change.
    #[arg(long, value_name = "DIR", requires = "from")]
    pub(crate) credentials: Option<PathBuf>,
    /// Folder in which the configuration is stored, including private keys. It is served again after a restart.
    #[arg(long, value_name = "DIR", requires = "from")]
    pub(crate) state: Option<PathBuf>,
    /// Number of worker threads. Default: one per CPU.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,
    /// Share ports with other processes that listen on them with SO_REUSEPORT, such as another towergate, for a
    /// restart without a gap. Default: a port in use is an error.
    #[arg(long)]
    pub(crate) reuse_port: bool,
    /// Name server for the host names of Backends. Can be repeated. Default: the name servers of the system.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) dns_server: Vec<SocketAddr>,
    /// Address of the admin endpoints (/ready, /stats/prometheus, /config, /version), or `off`.
    #[arg(long, value_name = "ADDR|off", default_value = "127.0.0.1:19000")]
    pub(crate) admin: OffOr<SocketAddr>,
    /// Address of a server with only /ready and /stats/prometheus, for load balancers and
    /// Prometheus.
    #[arg(long, value_name = "ADDR")]
    pub(crate) health: Option<SocketAddr>,
    /// File of the access log, `-` for standard output, or `off`.
    #[arg(long, value_name = "PATH|-|off", default_value = "-")]
    pub(crate) access_log: OffOr<PathBuf>,
    /// Format of the access log: json (Envoy Gateway's), text (Envoy's line), or a text or JSON object with operators
    /// such as %RESPONSE_CODE%.
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    pub(crate) access_log_format: AccessLogFormat,
    /// Condition of an entry in the access log, in CEL, such as `response.code >= 400`. Can be repeated: one must hold.
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
    /// The folder of credentials.
    pub(crate) credentials: PathBuf,
    /// The folder of the state file.
    pub(crate) state: Option<PathBuf>,
    /// Interval of retries for a configuration that is not fully in service.
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

/// Arguments of `check`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) manifests: ManifestArgs,
    /// Format of the findings.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: FindingsFormat,
    /// Look up the host names of Backends, `oidc` providers and `remoteJWKS`, and report those without an address.
    /// Default: no network access.
    #[arg(long)]
    pub(crate) resolve: bool,
    /// Name server for --resolve. Can be repeated. Default: the name servers of the system.
    #[arg(long, value_name = "ADDR:PORT", requires = "resolve")]
    pub(crate) dns_server: Vec<SocketAddr>,
}

/// A format of findings.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum FindingsFormat {
    /// One JSON array of all findings, indented.
    Json,
    /// Each finding with its line of the file, and a summary.
    Text,
}

/// Arguments of `migrate`.
#[derive(Args, Clone, Debug)]
pub(crate) struct MigrateArgs {
    /// Folders or files of manifests.
    #[arg(required = true, value_name = "DIR")]
    pub(crate) paths: Vec<PathBuf>,
    /// Folder to write the translated manifests to. Without it, only the report is printed.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Format of the report.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: ReportFormat,
    /// Exit with status 1 if a verdict is this one or worse.
    #[arg(long, value_name = "VERDICT")]
    pub(crate) fail_on: Option<FailOn>,
    /// Send generated requests through the translation, in this process, and print those to which a
    /// model of ingress-nginx responds differently, the smallest request first.
    #[arg(long)]
    pub(crate) prove: bool,
    /// Send generated requests to a running ingress-nginx and to the new gateway, and print where they answer
    /// differently. Only GET, HEAD and OPTIONS are sent.
    #[arg(long, value_name = "URL,URL", value_delimiter = ',', num_args = 1)]
    pub(crate) prove_against: Vec<String>,
    /// Requests per second to each side of --prove-against.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) prove_rate: u32,
    /// Largest number of requests to each side of --prove-against.
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(crate) prove_requests: usize,
    /// The shared Gateway.
    #[arg(long, value_name = "NAMESPACE/NAME", default_value = "gateway/shared")]
    pub(crate) gateway: String,
    /// GatewayClass of the Gateway.
    #[arg(long, value_name = "NAME", default_value = "eg")]
    pub(crate) gateway_class: String,
    /// Command-line flag of the ingress-nginx controller that the manifests do not contain. Can be repeated.
    #[arg(long = "nginx-flag", value_name = "NAME=VALUE")]
    pub(crate) nginx_flags: Vec<String>,
}

/// Arguments of `replay`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReplayArgs {
    /// Access log of ingress-nginx.
    #[arg(value_name = "LOG")]
    pub(crate) log: PathBuf,
    /// Folders or files of manifests with the Ingresses.
    #[arg(value_name = "DIR", required_unless_present = "against")]
    pub(crate) paths: Vec<PathBuf>,
    /// Send the requests to running gateways: ingress-nginx and the new gateway, or only the new one.
    #[arg(long, value_name = "[OLD,]NEW", value_delimiter = ',', num_args = 1)]
    pub(crate) against: Vec<String>,
    /// Host of lines that contain none. Default: derived from the name of the backend.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Also send requests with this method, without a body. It may change data of the backends. Can be repeated.
    #[arg(long = "allow-method", value_name = "METHOD")]
    pub(crate) methods: Vec<String>,
    /// Requests per second to each side of --against.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rate: u32,
    /// Largest number of distinct requests.
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(crate) requests: usize,
    /// Command-line flag of the ingress-nginx controller that the manifests do not contain. Can be repeated.
    #[arg(long = "nginx-flag", value_name = "NAME=VALUE")]
    pub(crate) nginx_flags: Vec<String>,
}

/// A format of the report of `migrate`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// One HTML page without references to other files.
    Html,
    /// One JSON object, indented.
    Json,
    /// A summary, then the differences, the worst first.
    Text,
}

/// The verdict of `--fail-on`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum FailOn {
    /// Any verdict other than the same behaviour.
    SameWithADifference,
    /// Any verdict that needs a decision or is impossible.
    NeedsADecision,
    /// Anything that is impossible.
    Impossible,
}

/// Arguments of `echo`.
#[derive(Args, Clone, Debug)]
pub(crate) struct EchoArgs {
    /// Address to listen on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9000")]
    pub(crate) listen: SocketAddr,
}

/// Arguments of `dev-cert`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DevCertArgs {
    /// DNS names, with or without a leading `*.`, or IP addresses.
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Folder to write tls.crt and tls.key to.
    #[arg(long, value_name = "DIR", conflicts_with = "secret")]
    pub(crate) out: Option<PathBuf>,
    /// Namespace and name of the Secret to print.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(crate) secret: Option<String>,
    /// Validity in days.
    #[arg(long, value_name = "N", default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub(crate) days: u32,
}

/// Arguments of `completions`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct CompletionArgs {
    /// The shell.
    pub(crate) shell: Shell,
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn run(args: &[&str]) -> Result<RunArgs, String> {
        let all = ["towergate", "run"].iter().chain(args);
        match Cli::try_parse_from(all)
            .map_err(|error| error.to_string())?
            .command
        {
            Command::Run(args) => Ok(*args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_check_describes_its_output() {
        let mut cli = Cli::command();
        let check = cli.find_subcommand_mut("check").expect("a command");

        let help = check.render_long_help().to_string();

        assert!(help.contains("One JSON array of all findings"), "{help}");
        assert!(!help.contains("per line"), "{help}");
        assert!(help.contains("(warnings do not count)"), "{help}");
    }

    #[test]
    fn every_command_prints_the_version_of_the_program() {
        for command in [None, Some("run"), Some("check"), Some("dev-cert")] {
            let args = ["towergate"].into_iter().chain(command);

            let error = Cli::try_parse_from(args.chain(["--version"])).expect_err("the version");

            let expected = concat!("towergate ", env!("CARGO_PKG_VERSION"), "\n");
            assert_eq!(error.to_string(), expected, "{command:?}");
        }
    }

    #[test]
    fn defaults_match_the_help() {
        let args = run(&["dir"]).expect("valid arguments");

        assert_eq!(args.manifests.paths, [PathBuf::from("dir")]);
        assert_eq!(
            args.manifests.controller_name,
            "gateway.envoyproxy.io/gatewayclass-controller"
        );
        assert_eq!(args.admin, OffOr::On(([127, 0, 0, 1], 19000).into()));
        assert_eq!(args.access_log, OffOr::On(PathBuf::from("-")));
        assert_eq!(args.access_log_format, AccessLogFormat::Json);
        assert_eq!(args.drain_timeout(), Duration::from_secs(30));
        assert_eq!(args.workers, None);
    }

    #[test]
    fn options_can_be_repeated_and_separated_by_commas() {
        let args = run(&[
            "a",
            "b",
            "--port",
            "80=8080,443=8443",
            "--port",
            "81=8081",
            "--bind",
            "127.0.0.1",
            "--bind",
            "edge/public=::1",
            "--endpoint",
            "team-a/echo:80=127.0.0.1:9000",
            "--parity",
            "strict-host,external-address",
            "--admin",
            "off",
            "--access-log",
            "off",
        ])
        .expect("valid arguments");

        assert_eq!(args.manifests.ports.len(), 3);
        assert_eq!(args.manifests.bind.len(), 2);
        assert_eq!(
            args.manifests.endpoints[0].address,
            ([127, 0, 0, 1], 9000).into()
        );
        assert_eq!(
            args.manifests.parity,
            [ParityFlag::StrictHost, ParityFlag::ExternalAddress]
        );
        assert_eq!((args.admin, args.access_log), (OffOr::Off, OffOr::Off));
    }

    #[test]
    fn a_controller_replaces_folders() {
        for (url, host) in [
            ("https://c.test:18000", "c.test"),
            ("https://[::1]:18000/", "::1"),
        ] {
            let args = run(&["--from", url, "--credentials", "d"]).expect("valid arguments");

            let controller = args.controller().expect("a controller");
            assert_eq!(
                (&*controller.address.host, controller.address.port),
                (host, 18000)
            );
            assert_eq!(
                (controller.credentials, controller.state),
                (PathBuf::from("d"), None)
            );
        }
        assert!(
            run(&["dir"])
                .expect("valid arguments")
                .controller()
                .is_none()
        );
    }

    #[test]
    fn invalid_arguments_are_rejected() {
        for args in [
            &[][..],
            &["dir", "--port", "80"],
            &["dir", "--port", "80=0"],
            &["dir", "--bind", "localhost"],
            &["dir", "--endpoint", "echo:80=127.0.0.1:9"],
            &["dir", "--workers", "0"],
            &["dir", "--parity", "everything"],
            &["dir", "--drain-timeout", "soon"],
            &["--from", "https://c:1"],
            &["--credentials", "d"],
            &["dir", "--state", "d"],
            &["dir", "--from", "https://c:1", "--credentials", "d"],
            &[
                "--bind",
                "::1",
                "--from",
                "https://c:1",
                "--credentials",
                "d",
            ],
            &["--from", "http://c:1", "--credentials", "d"],
            &["--from", "https://c", "--credentials", "d"],
            &["--from", "https://c:1/path", "--credentials", "d"],
        ] {
            assert!(run(args).is_err(), "{args:?}");
        }
    }
}
