//! `towergate run`: serves the configurations of a source until a signal ends the process.
//!
//! ```text
//! folders: read ──> resolve ─┐                 ┌─> endpoints, plan ──> data plane
//! controller: stream ────────┴─> Source ──> Control
//!                                  ▲            │ a rejected plan: the previous one stays in service
//!                                  └── report ──┘
//! ```

use std::process::ExitCode;
use std::sync::Arc;

use towergate_core::access_log::AccessLog;
use towergate_policy::envoy_proxy::ProcessSettings;

use crate::access_log::{LogHandle, Target};
use crate::admin::Admin;
use crate::admin_servers::AdminServers;
use crate::args::RunArgs;
use crate::control::{Control, Source};
use crate::controller_client::ControllerClient;
use crate::data_plane::{DataPlane, SocketSettings};
use crate::flags::OffOr;
use crate::folder_source::FolderSource;
use crate::log_throttle::LogThrottle;
use crate::manifest_loader::ManifestLoader;
use crate::metrics::Metrics;
use crate::signals::{Request, Signals};
use crate::upgrade::Upgrade;
use crate::{Failure, Outcome, access_log, data_plane, memory, parameters, summary, telemetry};

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// If the program cannot start, for example because a folder does not exist or an address cannot be bound.
pub(crate) fn run(mut args: RunArgs) -> Outcome {
    let mut loader = ManifestLoader::new(&args.manifests).without_statuses();
    let settings = match args.from {
        None => loader.process_settings(),
        Some(_) => ProcessSettings::default(),
    };
    parameters::apply(&mut args, settings)?;
    telemetry::init(args.log_format, &args.log)?;
    // The data plane has its own threads. The two threads of this runtime run everything else.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let status = runtime.block_on(start(&args, loader))?;
    if status == ExitCode::SUCCESS {
        // Exits without shutting down the runtime, which would only delay the exit.
        std::process::exit(0);
    }
    Ok(status)
}

async fn start(args: &RunArgs, loader: ManifestLoader) -> Outcome {
    let metrics = Arc::<Metrics>::default();
    match args.controller() {
        Some(controller) => serve(args, ControllerClient::new(controller), metrics).await,
        None => {
            let source = FolderSource::new(args, loader, Arc::clone(&metrics));
            serve(args, source, metrics).await
        }
    }
}

async fn serve(args: &RunArgs, mut source: impl Source, metrics: Arc<Metrics>) -> Outcome {
    let mut signals = Signals::listen()?;
    let admin = Arc::new(Admin::new(Arc::clone(&metrics)));
    let (log, log_handle) = start_access_log(args, &metrics)?;
    let workers = args.workers.map_or_else(cpus, usize::from);
    let observer = Arc::new(LogThrottle::new(Arc::clone(&metrics)));
    let (mut upgrade, mut inherited) = Upgrade::start(args)?;
    let servers = AdminServers::bind(args, &mut inherited)?;
    let settings = SocketSettings {
        reuse_port: args.reuse_port,
        hands_over: args.hand_over.is_some(),
        inherited,
        name_servers: args.dns_server.clone(),
        zone: args.zone.clone().filter(|zone| !zone.is_empty()),
        // In a cluster, authors of Backends must not reach the data plane and its node through a
        // host name.
        local_names: args.from.is_none(),
    };
    let data_plane = data_plane::start(workers, log, observer, settings)?;
    metrics.set_policy_faults(data_plane.policy_faults());
    let mut control = Control::new(data_plane, Arc::clone(&admin), metrics);

    // While there is a previous process, it serves the admin endpoints until this process is ready.
    if !upgrade.is_pending() {
        servers.serve(&admin)?;
    }
    control.start(&mut source)?;
    upgrade.complete_if_ready(&admin, &servers)?;
    tokio::spawn(memory::return_unused());
    if !args.quiet && args.from.is_none() {
        eprint!("{}", summary::describe(control.plan()));
    }
    loop {
        let request = tokio::select! {
            desired = source.next() => {
                control.serve(desired, &mut source);
                upgrade.complete_if_ready(&admin, &servers)?;
                continue;
            }
            event = upgrade.next() => {
                if upgrade.passes_on(event, control.data_plane(), &servers) {
                    break;
                }
                continue;
            }
            request = signals.next() => request,
        };
        match request {
            Request::Shutdown => {
                admin.set_ready(false);
                break;
            }
            Request::Reload => reload(&mut control, &mut source, log_handle.as_ref()),
        }
    }
    let status = shut_down(args, control.data_plane(), &mut signals).await;
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
    let desired = source.reload();
    if !desired.is_some_and(|desired| control.serve(desired, source)) {
        tracing::info!("reloaded: no changes");
    }
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
    let (log, handle) = access_log::start(
        target,
        args.access_log_format.clone(),
        args.access_log_match.clone(),
    )
    .map_err(|error| format!("--access-log: {error}"))?;
    metrics.set_dropped_log_lines(handle.dropped());
    Ok((Some(Arc::new(log)), Some(handle)))
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Drains connections. A second signal ends the process at once.
async fn shut_down(args: &RunArgs, data_plane: &impl DataPlane, signals: &mut Signals) -> ExitCode {
    tracing::info!(timeout = ?args.drain_timeout(), "shutting down: accepting no new connections, completing requests in flight");
    let finished = tokio::select! {
        finished = data_plane.drain(args.drain_timeout()) => finished,
        () = signals.shutdown() => false,
    };
    let connections = data_plane.connections();
    if !finished && connections > 0 {
        tracing::warn!(
            connections,
            "connections closed before their requests finished"
        );
    }
    ExitCode::SUCCESS
}
