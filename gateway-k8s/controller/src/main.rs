//! `towergate-controller`: makes Towergate serve the Gateways of a Kubernetes cluster.
//!
//! ```text
//! watch/ ──events──> reconcile ──plans──> data planes
//!    ▲                   └──statuses that differ──> status/ ──> API server
//!    └──────────────────────────────────────────────────────────┘
//! lease/: who writes statuses, if several controllers run.
//! ```

mod admin;
mod args;
mod kinds;
mod lease;
mod metrics;
mod notes;
mod ours;
mod planes;
mod pool;
mod provision;
mod reconcile;
mod serve;
mod settle;
mod start;
mod status;
mod telemetry;
mod trust;
mod watch;
mod world;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Args;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What ends the program without a result: shown to the user as it is.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("towergate-controller: {error}");
            ExitCode::from(2)
        }
    }
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

/// Runs until a signal ends it.
async fn control(args: &Args) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut running = start::start(args).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        error = running.broke_off() => return Err(error),
    }
    tracing::info!("ends");
    running.end().await;
    Ok(())
}
