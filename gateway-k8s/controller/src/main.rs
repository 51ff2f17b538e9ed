//! The `towergate-controller` program: serves the Gateways of a Kubernetes cluster with Towergate.
//!
//! ```text
//! watch/ ──events──> reconcile ──plans──> data planes
//!    ▲                   └──changed statuses──> status/ ──> API server
//!    └──────────────────────────────────────────────────────────┘
//! lease/: leader election; only the leader writes to the API server.
//! ```

mod address_pool;
mod admin;
mod args;
mod ca;
mod debounce;
mod default_certificate;
mod diagnostics_log;
mod ingress_writer;
mod ingresses;
mod kinds;
mod lease;
mod metrics;
mod object_cache;
mod ownership;
mod planes;
mod provision;
mod reconcile;
mod serve;
mod session_keys;
mod start;
mod status;
mod telemetry;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Args;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An error that ends the program. Its text is printed unchanged.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    if let Some(command) = std::env::args().nth(1).filter(|name| is_of_plugin(name)) {
        eprintln!(
            "towergate-controller: this program serves Gateways and has no command `{command}`; run `kubectl towergate {command}` (program `kubectl-towergate` of the same release and image)"
        );
        return ExitCode::from(2);
    }
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("towergate-controller: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether `name` is a command of the plugin `kubectl towergate`.
fn is_of_plugin(name: &str) -> bool {
    matches!(name, "migrate" | "collect")
}

fn run(args: &Args) -> Result<(), Failure> {
    telemetry::init(args.log_format, &args.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(control(args))?;
    runtime.shutdown_background();
    Ok(())
}

/// Runs until SIGTERM or SIGINT.
async fn control(args: &Args) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut running = start::start(args).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        error = running.failed() => return Err(error),
    }
    tracing::info!("shutting down");
    running.shut_down().await;
    Ok(())
}
