//! The `kubectl-towergate` program (`kubectl towergate`): reads an installation of ingress-nginx from a
//! cluster.
//!
//! ```text
//! API server ──collect──> manifests ─┬─ collect ──> standard output
//!                                    └─ migrate ──> standard input of `towergate migrate -`
//! ```
//!
//! The translation is that of the `towergate` program, which has no Kubernetes client.

mod collect;

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use clap::{Args, Parser, Subcommand};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// The error of a command, printed to the user unchanged.
type CommandError = Box<dyn std::error::Error + Send + Sync>;

/// Reads an installation of ingress-nginx from a cluster and translates it to Gateway API.
///
/// The cluster is taken from KUBECONFIG or ~/.kube/config; otherwise it is the cluster in which the program
/// runs. Only Secrets that Ingresses and the controller refer to are read, and no private key leaves this
/// program.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-towergate",
    bin_name = "kubectl towergate",
    version,
    after_help = "\
Examples:
  kubectl towergate migrate --out gateway/
  kubectl towergate migrate --prove
  kubectl towergate collect > cluster/objects.json"
)]
struct Cli {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(subcommand)]
    command: ClusterCommand,
}

/// The cluster.
#[derive(Args, Debug)]
struct ClusterArgs {
    /// File with the address of the cluster. Default: KUBECONFIG, ~/.kube/config, or the service account of the pod.
    #[arg(long, value_name = "FILE", global = true)]
    kubeconfig: Option<PathBuf>,
    /// Context of the file.
    #[arg(long, value_name = "NAME", global = true)]
    context: Option<String>,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Print the objects as manifests, one JSON object per line.
    ///
    /// Private keys of certificates are replaced. The output contains users of Basic authentication, with the
    /// hashes of their passwords.
    Collect,
    /// Run `towergate migrate` with the objects of the cluster.
    ///
    /// Uses the program `towergate` beside this program, or else the one in PATH.
    Migrate {
        /// Options of `towergate migrate`.
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "OPTION"
        )]
        options: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    run(&Cli::parse()).unwrap_or_else(|error| {
        eprintln!("kubectl-towergate: {error}");
        ExitCode::from(2)
    })
}

fn run(cli: &Cli) -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let manifests = runtime.block_on(async {
        let client = Client::try_from(config(&cli.cluster).await?)?;
        collect::collect(&client).await
    })?;
    match &cli.command {
        ClusterCommand::Collect => {
            written(io::stdout().lock().write_all(manifests.as_bytes()))?;
            Ok(ExitCode::SUCCESS)
        }
        ClusterCommand::Migrate { options } => migrate(&manifests, options),
    }
}

/// The configuration of the client for the cluster.
async fn config(cluster: &ClusterArgs) -> Result<Config, CommandError> {
    let options = KubeConfigOptions {
        context: cluster.context.clone(),
        ..KubeConfigOptions::default()
    };
    match (&cluster.kubeconfig, &cluster.context) {
        (Some(file), _) => {
            let file = Kubeconfig::read_from(file)?;
            Ok(Config::from_custom_kubeconfig(file, &options).await?)
        }
        (None, Some(_)) => Ok(Config::from_kubeconfig(&options).await?),
        (None, None) => Ok(Config::infer().await?),
    }
}

/// Runs `towergate migrate -` with the manifests on its standard input. Returns its exit status.
fn migrate(manifests: &str, options: &[OsString]) -> Result<ExitCode, CommandError> {
    let program = program();
    let mut child = Command::new(&program)
        .args(["migrate", "-"])
        .args(options)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                "program `towergate` not found; install it beside kubectl-towergate or in PATH, or use `kubectl towergate collect`".to_owned()
            }
            _ => format!("{} cannot be started: {error}", program.display()),
        })?;
    // `towergate` reads its whole input before it writes, so this write cannot block. If `towergate` rejects
    // its arguments, the pipe closes.
    if let Some(mut input) = child.stdin.take() {
        written(input.write_all(manifests.as_bytes()))?;
    }
    let code = child.wait()?.code();
    Ok(code
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::from(2), ExitCode::from))
}

/// `towergate` in the folder of this program, or else the one in PATH.
fn program() -> PathBuf {
    let here = std::env::current_exe().ok();
    let beside = here.and_then(|path| Some(path.parent()?.join("towergate")));
    beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from("towergate"))
}

/// Ignores the error of writing to a pipe whose reader has closed it.
fn written(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_migrate_are_passed_on() {
        let args = [
            "kubectl-towergate",
            "migrate",
            "--out",
            "gateway/",
            "--prove",
        ];

        let cli = Cli::try_parse_from(args).expect("valid arguments");

        match cli.command {
            ClusterCommand::Migrate { options } => {
                assert_eq!(options, ["--out", "gateway/", "--prove"])
            }
            other @ ClusterCommand::Collect => panic!("{other:?}"),
        }
    }
}
