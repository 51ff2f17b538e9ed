//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::flags::{Bind, ControllerAddress, EndpointOverride, OffOr, PortMap, Seconds};

/// A Gateway API gateway that serves a folder of manifests.
///
/// Towergate reads the manifests that Envoy Gateway reads (Gateway, HTTPRoute, GRPCRoute, TLSRoute, TCPRoute,
/// UDPRoute, Service, Secret, ClientTrafficPolicy and so on) from folders, and serves them. No cluster is
/// needed. Changes of the files take effect at once, without closing a connection; a mistake leaves what
/// was there before.
#[derive(Debug, Parser)]
#[command(
    name = "towergate",
    version,
    propagate_version = true,
    after_help = "\
Examples:
  towergate run examples/quickstart          Serve a folder, and print what to try
  towergate check manifests/                 Find mistakes before they are served
  towergate status manifests/                What Gateway API would say of each object
  towergate dev-cert app.test --out certs/   A certificate to try HTTPS with"
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve folders of manifests.
    ///
    /// Reads all *.yaml, *.yml and *.json files in the given folders and below, serves them, and takes up
    /// changes as they happen. Objects that cannot be read keep their last good version. SIGHUP reads
    /// everything again and reopens the access log; SIGTERM and SIGINT let requests finish, then exit.
    ///
    /// With --from, plans come from a controller instead, and folders and what belongs to them are not given.
    /// A controller that is away changes nothing about what is served.
    #[command(after_help = RUN_EXAMPLES, mut_arg("paths", |paths| paths.required_unless_present("from").required(false)))]
    Run(Box<RunArgs>),
    /// Find mistakes in manifests, without serving them.
    ///
    /// Prints what is wrong or suspicious, with file, line and advice. Exit status: 0 without errors
    /// (warnings do not count), 1 if there are errors (with --strict also for warnings), 2 if something could
    /// not be read.
    #[command(after_help = "\
Examples:
  towergate check manifests/
  towergate check --strict --format json manifests/ > findings.json")]
    Check(CheckArgs),
    /// Print the status of each object, as `kubectl get -o yaml` would.
    ///
    /// One YAML document per object that has a status: GatewayClasses, Gateways with their listeners, routes
    /// with their parents, policies with their ancestors. No condition has a lastTransitionTime: files tell of no
    /// time before, and equal manifests give equal output. Nothing is served. Objects that cannot be read are
    /// told on standard error, and the exit status is 1 then; 2 if a file or folder could not be read.
    Status(ManifestArgs),
    /// Serve a backend that answers with what it was asked.
    ///
    /// Answers every request with JSON: method, path, headers, size of the body, and the address of the peer.
    /// Speaks HTTP/1.1, and HTTP/2 with prior knowledge.
    Echo(EchoArgs),
    /// Make a self-signed certificate.
    ///
    /// An ECDSA P-256 certificate for the given names, for trying things out. Without --out, it is printed as
    /// a Secret manifest that a Gateway can refer to.
    #[command(after_help = "\
Examples:
  towergate dev-cert team-a.example.com '*.team-b.example.com' --out certs/
  towergate dev-cert team-a.example.com --secret gateway/team-a-tls > secret.yaml")]
    DevCert(DevCertArgs),
    /// Print a completion script for a shell.
    ///
    /// For bash: towergate completions bash > /etc/bash_completion.d/towergate
    Completions(CompletionArgs),
    /// Print the manual page, in roff.
    ///
    /// Read it with: towergate man | man -l -
    Man,
}

const RUN_EXAMPLES: &str = "\
Examples:
  Serve ports 80 and 443 of the Gateways as 8080 and 8443, on loopback:
    towergate run manifests/ --port 80=8080,443=8443 --bind 127.0.0.1
  Send what is meant for a Service to a process on this machine:
    towergate run manifests/ --endpoint team-a/echo:80=127.0.0.1:9000
  Two Gateways with the same ports, on an address each:
    towergate run manifests/ --bind edge/public=192.0.2.1 --bind edge/internal=10.0.0.1
  A Service to try things with, answered by a built-in echo backend:
    metadata: {annotations: {towergate.dev/echo: \"true\"}}
  Serve what a controller says:
    towergate run --from https://towergate-controller.towergate-system:18000 \\
      --credentials /var/run/towergate --state /var/lib/towergate";

/// Where manifests are, and what surrounds them.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ManifestArgs {
    /// Folders or files of manifests.
    #[arg(required = true, value_name = "DIR")]
    pub(crate) paths: Vec<PathBuf>,
    /// Serve GatewayClasses of this controller. Gateways whose class is not in the folders are served, too.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "gateway.envoyproxy.io/gatewayclass-controller"
    )]
    pub(crate) controller_name: String,
    /// Bind a Gateway's port as another one, such as 80=8080. May be repeated or separated by commas.
    #[arg(long = "port", value_name = "PORT=BOUND", value_delimiter = ',')]
    pub(crate) ports: Vec<PortMap>,
    /// Bind to this address, or bind one Gateway (NAMESPACE/NAME=ADDR) to it. May be repeated. Without it,
    /// all IPv4 addresses.
    #[arg(long, value_name = "[GATEWAY=]ADDR")]
    pub(crate) bind: Vec<Bind>,
    /// Send what is meant for a port of a Service to this address. May be repeated.
    #[arg(long = "endpoint", value_name = "NAMESPACE/SERVICE:PORT=ADDR:PORT")]
    pub(crate) endpoints: Vec<EndpointOverride>,
    /// Treat unknown fields as errors, and unknown kinds of Gateway API's and Envoy Gateway's groups.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Refuse TLS clients whose server name no certificate covers, or that send none. Without it they get
    /// the listener's first certificate, as from Envoy.
    #[arg(long)]
    pub(crate) refuse_unknown_sni: bool,
    /// Do as Envoy does where Towergate differs on purpose.
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub(crate) parity: Vec<ParityFlag>,
}

/// What can be had as Envoy does it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ParityFlag {
    /// Rules of a more specific hostname that do not match end the search with 404.
    StrictHost,
    /// A client's own x-envoy-external-address passes where Envoy lets it pass.
    ExternalAddress,
}

/// Arguments of `run`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) manifests: ManifestArgs,
    /// Serve what the controller at this address says, such as `https://controller.example:18000`.
    #[arg(long, value_name = "URL", requires = "credentials", conflicts_with_all = ["paths", "ports", "bind", "endpoints", "strict", "refuse_unknown_sni", "parity"])]
    pub(crate) from: Option<ControllerAddress>,
    /// The folder with ca.crt, tls.crt and tls.key for --from. Read again when they change.
    #[arg(long, value_name = "DIR", requires = "from")]
    pub(crate) credentials: Option<PathBuf>,
    /// Keep what is served in this folder, private keys included, and begin with it after a restart.
    #[arg(long, value_name = "DIR", requires = "from")]
    pub(crate) state: Option<PathBuf>,
    /// Threads that serve requests. Without it, one per CPU.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,
    /// Serve /ready, /stats/prometheus, /config and /version here; `off`: nowhere.
    #[arg(long, value_name = "ADDR|off", default_value = "127.0.0.1:19000")]
    pub(crate) admin: OffOr<SocketAddr>,
    /// Serve only /ready and /stats/prometheus here, for load balancers and whoever collects metrics.
    #[arg(long, value_name = "ADDR")]
    pub(crate) health: Option<SocketAddr>,
    /// Write the access log to this file; `-`: standard output; `off`: nowhere.
    #[arg(long, value_name = "PATH|-|off", default_value = "-")]
    pub(crate) access_log: OffOr<PathBuf>,
    /// The form of the access log: Envoy Gateway's JSON, or Envoy's line of text.
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    pub(crate) access_log_format: LogFormat,
    /// The form of the log on standard error.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// What to log: error, warn, info, debug, trace, or directives such as `towergate_core=debug`.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log: String,
    /// How long requests may take to finish when the gateway ends, such as 30s.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) drain_timeout: Seconds,
    /// How often to look for changes that the system did not tell of, such as 30s.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) poll_interval: Seconds,
    /// Do not print what is served.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// Where a controller is, and how to speak to it.
#[derive(Clone, Debug)]
pub(crate) struct ControllerArgs {
    /// Its address.
    pub(crate) address: ControllerAddress,
    /// The folder of credentials.
    pub(crate) credentials: PathBuf,
    /// The folder of what is in force.
    pub(crate) state: Option<PathBuf>,
    /// A plan that is refused is tried again so often.
    pub(crate) retry: Duration,
}

/// A form of a log.
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
    /// The form of the findings.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: FindingsFormat,
}

/// A form of findings.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum FindingsFormat {
    /// One JSON array of all findings, indented.
    Json,
    /// Each finding with its lines of the file, and a summary.
    Text,
}

/// Arguments of `echo`.
#[derive(Args, Clone, Debug)]
pub(crate) struct EchoArgs {
    /// Where to listen.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9000")]
    pub(crate) listen: SocketAddr,
}

/// Arguments of `dev-cert`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DevCertArgs {
    /// DNS names, also with a leading `*.`, or IP addresses.
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Write tls.crt and tls.key into this folder.
    #[arg(long, value_name = "DIR", conflicts_with = "secret")]
    pub(crate) out: Option<PathBuf>,
    /// Print a Secret of this namespace and name.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(crate) secret: Option<String>,
    /// Days of validity.
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
    /// The controller that plans come from, if there is one.
    pub(crate) fn controller(&self) -> Option<ControllerArgs> {
        Some(ControllerArgs {
            address: self.from.clone()?,
            credentials: self.credentials.clone()?,
            state: self.state.clone(),
            retry: self.poll_interval.0,
        })
    }

    /// Time for requests to finish.
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
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_check_tells_what_is_printed() {
        let mut cli = Cli::command();
        let check = cli.find_subcommand_mut("check").expect("it is a command");

        let help = check.render_long_help().to_string();

        assert!(help.contains("One JSON array of all findings"), "{help}");
        assert!(!help.contains("per line"), "{help}");
        assert!(help.contains("(warnings do not count)"), "{help}");
    }

    #[test]
    fn defaults_are_those_of_the_help() {
        let args = run(&["dir"]).expect("it is enough");

        assert_eq!(args.manifests.paths, [PathBuf::from("dir")]);
        assert_eq!(
            args.manifests.controller_name,
            "gateway.envoyproxy.io/gatewayclass-controller"
        );
        assert_eq!(args.admin, OffOr::On(([127, 0, 0, 1], 19000).into()));
        assert_eq!(args.access_log, OffOr::On(PathBuf::from("-")));
        assert_eq!(args.access_log_format, LogFormat::Json);
        assert_eq!(args.drain_timeout(), Duration::from_secs(30));
        assert_eq!(args.workers, None);
    }

    #[test]
    fn options_may_be_repeated_and_separated_by_commas() {
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
        .expect("all are good");

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
    fn a_controller_takes_the_place_of_folders() {
        for (url, host) in [
            ("https://c.test:18000", "c.test"),
            ("https://[::1]:18000/", "::1"),
        ] {
            let args = run(&["--from", url, "--credentials", "d"]).expect("it is enough");

            let controller = args.controller().expect("there is one");
            assert_eq!(
                (&*controller.address.host, controller.address.port),
                (host, 18000)
            );
            assert_eq!(
                (controller.credentials, controller.state),
                (PathBuf::from("d"), None)
            );
        }
        assert!(run(&["dir"]).expect("it is enough").controller().is_none());
    }

    #[test]
    fn nonsense_is_refused() {
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
