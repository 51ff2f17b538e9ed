//! Towergate: a Gateway API gateway that serves a folder of manifests.
//!
//! A thin shell around the library crates: arguments, files, signals, logs. Each command is one module.

mod access_log;
mod admin;
mod args;
mod check;
mod control;
mod dev_cert;
mod echo;
mod flags;
mod folder;
mod from;
mod manuals;
mod memory;
mod metrics;
mod plane;
mod render;
mod run;
mod signals;
mod status;
mod summary;
mod suspicions;
mod telemetry;
mod time;
mod warnings;
mod watch;
mod world;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit status for wrong usage and for files that cannot be read or written.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(*args),
        Command::Check(args) => check::check(&args),
        Command::Status(args) => status::status(&args),
        Command::Echo(args) => echo::run(&args),
        Command::DevCert(args) => dev_cert::run(&args),
        Command::Completions(args) => manuals::completions(args.shell),
        Command::Man => manuals::man(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("towergate: {error}");
        ExitCode::from(USAGE)
    })
}

/// Writes to standard output. Whoever reads it and goes away early, such as `head`, has what it wants.
///
/// # Errors
/// If it cannot be written.
fn print(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// What ends a command without a result: shown to the user as it is.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a command ends with.
type Outcome = Result<ExitCode, Failure>;
