//! The command line. The arguments of the larger commands are in modules of their own.

mod manifests;
mod migrate;
mod replay;
mod run;

pub(crate) use manifests::{ManifestArgs, ParityFlag};
pub(crate) use migrate::{ClusterArgs, FailOn, MigrateArgs, ReportFormat};
pub(crate) use replay::ReplayArgs;
pub(crate) use run::{ControllerArgs, LogFormat, RunArgs};

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use self::migrate::MIGRATE_EXAMPLES;
use self::replay::REPLAY_EXAMPLES;
use self::run::RUN_EXAMPLES;

/// A Gateway API gateway that serves a folder of manifests.
///
/// Towergate reads the manifests that Envoy Gateway reads (Gateway, HTTPRoute, GRPCRoute, TLSRoute, TCPRoute,
/// UDPRoute, Service, Secret, ClientTrafficPolicy and others) from folders and serves them. No cluster is
/// needed. Changes of the files take effect at once, and no connection is closed. An object that becomes
/// unreadable keeps its last good version.
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
    /// Prints one YAML document per object that has a status: GatewayClasses, Gateways with their listeners,
    /// routes with their parents, policies with their ancestors. `-` reads manifests from standard input.
    /// Conditions have no lastTransitionTime, because files carry no history: equal manifests give equal
    /// output. Unreadable objects are reported on standard error. Exit status: 0 if all objects are readable,
    /// 1 if an object is unreadable, 2 if a file or folder cannot be read or there is no manifest at all.
    #[command(display_name = "towergate")]
    Status(ManifestArgs),
    /// Print the configuration of the service that counts requests for global rate limits.
    ///
    /// Prints one YAML document per domain in the format of envoyproxy/ratelimit. With --out, writes one file
    /// per domain into a folder, from which the service reads them. Exit status: 0 if all objects are
    /// readable, 1 if an object is unreadable, 2 if a file cannot be read or written.
    #[command(display_name = "towergate")]
    RateLimits(RateLimitsArgs),
    /// Translate Ingresses of ingress-nginx to Gateway API.
    ///
    /// Reads Ingresses, IngressClasses, Services, Secrets, ConfigMaps, and the controller's Deployment
    /// or Helm values from the given folders and below. `-` reads manifests from standard input.
    /// Writes one file per namespace with --out, and prints a verdict on each annotation, ConfigMap key
    /// and flag. Exit status: 0 on success, 1 if a verdict is as bad as --fail-on or worse, or a
    /// manifest is invalid, 2 if a file cannot be read or written.
    #[command(display_name = "towergate", after_help = MIGRATE_EXAMPLES)]
    Migrate(MigrateArgs),
    /// Send the requests of an access log of ingress-nginx again and compare the responses.
    ///
    /// Reads the default format of ingress-nginx, also with `$host` or `$scheme://$host` in front. `-` reads
    /// standard input. With Ingresses in DIR, the hosts of the requests are derived from the names of the
    /// backends. Without --against, a model of ingress-nginx and the translation, both in this process, serve
    /// the requests. With --against OLD,NEW, both running gateways serve them. With --against NEW, the status
    /// is compared with the status in the log. Each distinct request is sent once. Header fields and bodies
    /// are not in the log and are not sent. Exit status: 0 if all responses are equal, 1 if some differ, 2 if
    /// no request can be sent.
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

/// Arguments of `rate-limits`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RateLimitsArgs {
    #[command(flatten)]
    pub(crate) manifests: ManifestArgs,
    /// Folder for the files, `towergate_DOMAIN.yaml`. Files of this name that are no longer needed are removed.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory;

    use super::*;
    use crate::flags::{AccessLogFormat, OffOr};

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
    fn networks_are_in_cidr_notation_without_leading_zeros() {
        for flag in ["--dynamic-resolver-allow", "--dynamic-resolver-deny"] {
            let with = |network| run(&["dir", "--dynamic-resolver", flag, network]);

            assert!(with("10.1.0.0/16").is_ok());
            for wrong in ["010.1.0.0/16", "10.1.0.0", "10.1.0.0/33", "host"] {
                let error = with(wrong).expect_err("not a network");
                assert!(error.contains("such as 10.1.0.0/16"), "{error}");
            }
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
