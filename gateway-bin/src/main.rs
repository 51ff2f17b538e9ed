//! The `towergate` program: a Gateway API gateway that serves a folder of manifests.
//!
//! The program handles arguments, files, signals and logs; the library crates do the rest. Each command is
//! one module.

mod access_log;
mod admin;
mod admin_servers;
mod args;
mod check;
mod completions;
mod control;
mod controller_client;
mod data_plane;
mod default_certificate;
mod dev_cert;
mod echo;
mod flags;
mod folder_source;
mod from_cluster;
mod hand_over;
mod ingresses;
mod listen_error;
mod live_gateway;
mod log_throttle;
mod manifest_loader;
mod memory;
mod metrics;
mod migrate;
mod output_folder;
mod parameters;
mod preflight_checks;
mod preflight_geoip;
mod preflight_hosts;
mod prove;
mod prove_against;
mod prove_echo;
mod prove_stand_ins;
mod rate_limits;
mod render;
mod replay;
mod run;
mod signals;
mod status;
mod summary;
mod telemetry;
mod time;
mod upgrade;
mod watch;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit status for wrong usage and for files that cannot be read or written.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(*args),
        Command::Check(args) => check::check(&args),
        Command::Status(args) => status::status(&args),
        Command::RateLimits(args) => rate_limits::rate_limits(&args),
        Command::Migrate(args) => migrate::migrate(&args),
        Command::Replay(args) => replay::replay(&args),
        Command::Echo(args) => echo::run(&args),
        Command::DevCert(args) => dev_cert::run(&args),
        Command::Completions(args) => completions::completions(args.shell),
        Command::Man => completions::man(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("towergate: {error}");
        ExitCode::from(USAGE)
    })
}

/// Writes to standard output. It is not an error if the reader of a pipe, such as `head`, closes the pipe
/// early.
///
/// # Errors
/// If standard output cannot be written.
fn print(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// The error of a command, printed to the user unchanged.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The result of a command.
type Outcome = Result<ExitCode, Failure>;
