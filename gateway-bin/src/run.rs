//! `towergate run`: serves what a source wants, and starts over when it wants something else.
//!
//! ```text
//! folder: read ──> resolve ─┐                ┌─> endpoints, plan ──> data plane
//! controller: a stream ─────┴─> Source ──> Control
//!                                  ▲            │ a plan that cannot be served: the one before stays
//!                                  └── outcome ─┘
//! ```

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use towergate_core::access_log::AccessLog;

use crate::access_log::{LogHandle, Target};
use crate::admin::Admin;
use crate::args::RunArgs;
use crate::control::{Control, Source};
use crate::flags::OffOr;
use crate::folder::Folders;
use crate::from::Controller;
use crate::metrics::Metrics;
use crate::plane::DataPlane;
use crate::signals::{Asked, Signals};
use crate::warnings::Warnings;
use crate::{Failure, Outcome, access_log, admin, memory, plane, summary, telemetry};

/// Serves until a signal ends it.
///
/// # Errors
/// If it cannot begin: a folder that is not there, an address that cannot be bound.
pub(crate) fn run(args: RunArgs) -> Outcome {
    telemetry::init(args.log_format, &args.log)?;
    // Requests are served by threads of their own; these two are for everything else.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let status = runtime.block_on(start(&args))?;
    if status == ExitCode::SUCCESS {
        // Nothing is left to be done: what threads still have is not taken apart, which other threads
        // that end at the same time could only delay.
        std::process::exit(0);
    }
    Ok(status)
}

async fn start(args: &RunArgs) -> Outcome {
    let metrics = Arc::<Metrics>::default();
    match args.controller() {
        Some(controller) => serve(args, Controller::new(controller), metrics).await,
        None => serve(args, Folders::new(args, Arc::clone(&metrics)), metrics).await,
    }
}

async fn serve(args: &RunArgs, mut source: impl Source, metrics: Arc<Metrics>) -> Outcome {
    let mut signals = Signals::listen()?;
    let admin = Arc::new(Admin::new(Arc::clone(&metrics)));
    let (log, log_handle) = start_access_log(args, &metrics)?;
    let workers = args.workers.map_or_else(cpus, usize::from);
    let observer = Arc::new(Warnings::new(Arc::clone(&metrics)));
    let plane = plane::start(workers, log, observer)?;
    let mut control = Control::new(plane, Arc::clone(&admin), metrics);

    control.begin(&mut source)?;
    if let OffOr::On(address) = args.admin {
        serve_admin(address, Arc::clone(&admin)).await?;
    }
    if let Some(address) = args.health {
        serve_health(address, Arc::clone(&admin)).await?;
    }
    tokio::spawn(memory::give_back());
    if !args.quiet && args.from.is_none() {
        eprint!("{}", summary::describe(control.plan()));
    }
    loop {
        let asked = tokio::select! {
            wanted = source.next() => {
                control.serve(wanted, &mut source);
                continue;
            }
            asked = signals.next() => asked,
        };
        match asked {
            Asked::End => break,
            Asked::Reload => reload(&mut control, &mut source, log_handle.as_ref()),
        }
    }
    admin.set_ready(false);
    let status = end(args, control.plane(), &mut signals).await;
    if let Some(log) = log_handle {
        log.finish();
    }
    Ok(status)
}

fn reload(
    control: &mut Control<impl DataPlane>,
    source: &mut impl Source,
    log: Option<&LogHandle>,
) {
    if let Some(log) = log {
        log.reopen();
    }
    let wanted = source.look_again();
    if !wanted.is_some_and(|wanted| control.serve(wanted, source)) {
        tracing::info!("read again, nothing has changed");
    }
}

async fn serve_health(address: SocketAddr, admin: Arc<Admin>) -> Result<(), Failure> {
    let bound = admin::serve_health(address, admin).await;
    let bound = bound.map_err(|error| format!("--health {address}: {error}"))?;
    tracing::info!(address = %bound, "health page: /ready /stats/prometheus");
    Ok(())
}

async fn serve_admin(address: SocketAddr, admin: Arc<Admin>) -> Result<(), Failure> {
    match admin::serve(address, admin).await {
        Ok(bound) => {
            tracing::info!(address = %bound, "admin page: /ready /stats/prometheus /config /version")
        }
        Err(error) => return Err(format!("--admin {address}: {error}").into()),
    }
    Ok(())
}

type AccessLogParts = (Option<Arc<dyn AccessLog>>, Option<LogHandle>);

fn start_access_log(args: &RunArgs, metrics: &Metrics) -> Result<AccessLogParts, Failure> {
    let OffOr::On(path) = &args.access_log else {
        return Ok((None, None));
    };
    let target = if path.as_os_str() == "-" {
        Target::Stdout
    } else {
        Target::File(path.clone())
    };
    let (log, handle) = access_log::start(target, args.access_log_format)
        .map_err(|error| format!("--access-log: {error}"))?;
    metrics.count_dropped_log_lines(handle.dropped());
    Ok((Some(Arc::new(log)), Some(handle)))
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Lets requests finish; a second signal ends at once.
async fn end(args: &RunArgs, plane: &impl DataPlane, signals: &mut Signals) -> ExitCode {
    tracing::info!(timeout = ?args.drain_timeout(), "ending: no new connections, requests may finish");
    let finished = tokio::select! {
        finished = plane.drain(args.drain_timeout()) => finished,
        () = signals.end() => false,
    };
    let connections = plane.running();
    if !finished && connections > 0 {
        tracing::warn!(connections, "connections were cut off");
    }
    ExitCode::SUCCESS
}
