//! `towergate run`: reads, resolves, serves, and starts over when something changes.
//!
//! ```text
//! read ──> resolve ──> endpoints, plan ──> data plane
//!   ▲                                          │ a plan that cannot be served: the one before stays
//!   └── a file changes, SIGHUP, the poll ◄─────┘
//! ```

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use towergate_core::access_log::AccessLog;
use towergate_core::plan::{Endpoints, Plan};
use towergate_k8s::decode::Severity;
use towergate_k8s::{Diagnostic, Resolution};
use towergate_policy::Policy;

use crate::access_log::{LogHandle, Target};
use crate::admin::Admin;
use crate::args::RunArgs;
use crate::echo::Echoes;
use crate::flags::OffOr;
use crate::metrics::Metrics;
use crate::plane::DataPlane;
use crate::render::brief;
use crate::signals::{Asked, Signals};
use crate::time::unix_seconds;
use crate::warnings::Warnings;
use crate::watch::Watch;
use crate::world::{Reading, World};
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
    let status = runtime.block_on(serve(&args))?;
    if status == ExitCode::SUCCESS {
        // Nothing is left to be done: what threads still have is not taken apart, which other threads
        // that end at the same time could only delay.
        std::process::exit(0);
    }
    Ok(status)
}

async fn serve(args: &RunArgs) -> Outcome {
    let mut signals = Signals::listen()?;
    let metrics = Arc::<Metrics>::default();
    let admin = Arc::new(Admin::new(Arc::clone(&metrics)));
    let (log, log_handle) = start_access_log(args, &metrics)?;
    let workers = args.workers.map_or_else(cpus, usize::from);
    let observer = Arc::new(Warnings::new(Arc::clone(&metrics)));
    let plane = plane::start(workers, log, observer)?;
    let mut watch = Watch::new(&args.manifests.paths, args.poll_interval.0);
    let mut control = Control::new(&args.manifests, plane, Arc::clone(&admin), metrics);

    control.begin()?;
    if let OffOr::On(address) = args.admin {
        serve_admin(address, admin).await?;
    }
    tokio::spawn(memory::give_back());
    if !args.quiet {
        eprint!("{}", summary::describe(&control.plan));
    }
    loop {
        let asked = tokio::select! {
            () = watch.changed() => None,
            asked = signals.next() => Some(asked),
        };
        if asked == Some(Asked::End) {
            break;
        }
        if asked == Some(Asked::Reload)
            && let Some(log) = &log_handle
        {
            log.reopen();
        }
        watch.arm();
        let reload = asked == Some(Asked::Reload);
        if !control.look(reload) && reload {
            tracing::info!("read again, nothing has changed");
        }
    }
    let status = end(args, &control, &mut signals).await;
    if let Some(log) = log_handle {
        log.finish();
    }
    Ok(status)
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
async fn end(args: &RunArgs, control: &Control<impl DataPlane>, signals: &mut Signals) -> ExitCode {
    control.admin.set_ready(false);
    tracing::info!(timeout = ?args.drain_timeout(), "ending: no new connections, requests may finish");
    let finished = tokio::select! {
        finished = control.plane.drain(args.drain_timeout()) => finished,
        () = signals.end() => false,
    };
    let connections = control.plane.running();
    if !finished && connections > 0 {
        tracing::warn!(connections, "connections were cut off");
    }
    ExitCode::SUCCESS
}

/// Brings what the manifests say to the data plane.
struct Control<D> {
    world: World,
    echoes: Echoes,
    plane: D,
    admin: Arc<Admin>,
    metrics: Arc<Metrics>,
    /// In service.
    plan: Arc<Plan<Policy>>,
    endpoints: Arc<Endpoints>,
    /// What was said about the manifests when they were last read.
    said: Vec<Diagnostic>,
    /// The plan of the last reading is not in service: each look tries again.
    refused: bool,
}

impl<D: DataPlane> Control<D> {
    fn new(
        manifests: &crate::args::ManifestArgs,
        plane: D,
        admin: Arc<Admin>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            world: World::new(manifests),
            echoes: Echoes::default(),
            plane,
            admin,
            metrics,
            plan: Arc::default(),
            endpoints: Arc::default(),
            said: Vec::new(),
            refused: false,
        }
    }

    /// Takes the first configuration into service.
    ///
    /// # Errors
    /// If a path cannot be read or the plan cannot be served: there is nothing to fall back on.
    fn begin(&mut self) -> Result<(), Failure> {
        let Some(reading) = self
            .world
            .read(true, |service| self.echoes.address(service))
        else {
            return Ok(());
        };
        let unreadable = reading
            .diagnostics
            .iter()
            .filter(|d| d.code == "unreadable");
        let unreadable: Vec<String> = unreadable.map(brief).collect();
        if !unreadable.is_empty() {
            return Err(unreadable.join("; ").into());
        }
        self.say(&reading);
        self.serve(reading)?;
        self.admin.set_ready(true);
        Ok(())
    }

    /// Reads again, and takes what has changed into service. A plan that was refused is tried again.
    /// Whether there was something to take, also if it was refused.
    fn look(&mut self, always: bool) -> bool {
        let always = always || self.refused;
        let Some(reading) = self
            .world
            .read(always, |service| self.echoes.address(service))
        else {
            return false;
        };
        self.say(&reading);
        let served = self.serve(reading);
        self.refused = served.is_err();
        if let Err(error) = &served {
            self.metrics.config.rejected.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "the configuration cannot be served; the one before it stays in service");
        }
        served.unwrap_or(true)
    }

    /// Whether something was new.
    fn serve(&mut self, reading: Reading) -> Result<bool, Failure> {
        let Resolution {
            mut plan,
            endpoints,
            ..
        } = reading.resolution;
        let moved = endpoints != *self.endpoints;
        // Endpoints first: a new route must not find its backend empty.
        if moved {
            self.plane.set_endpoints(&endpoints);
            self.endpoints = Arc::new(endpoints);
            self.admin
                .show(Arc::clone(&self.plan), Arc::clone(&self.endpoints));
        }
        let counts = &self.metrics.config;
        let first = counts.applied.load(Ordering::Relaxed) == 0;
        // What did not change is neither kept nor built twice.
        plan.share(&self.plan);
        if plan == *self.plan && !first {
            return Ok(moved);
        }
        self.plane.apply(&plan)?;
        counts.note_ports(&plan.ports);
        self.plan = Arc::new(plan);
        self.admin
            .show(Arc::clone(&self.plan), Arc::clone(&self.endpoints));
        let version = counts.applied.fetch_add(1, Ordering::Relaxed) + 1;
        let now = unix_seconds(SystemTime::now());
        counts
            .applied_at
            .store(u64::try_from(now).unwrap_or(0), Ordering::Relaxed);
        let (listeners, routes) = size(&self.plan);
        tracing::info!(version, listeners, routes, "in service");
        Ok(true)
    }

    /// Logs what is wrong with the manifests and was not said the last time.
    fn say(&mut self, reading: &Reading) {
        let errors = reading
            .diagnostics
            .iter()
            .filter(|d| d.severity == Severity::Error)
            .count();
        self.metrics
            .config
            .errors
            .store(u64::try_from(errors).unwrap_or(u64::MAX), Ordering::Relaxed);
        for diagnostic in reading
            .diagnostics
            .iter()
            .filter(|d| !self.said.contains(d))
        {
            let (code, text) = (diagnostic.code, brief(diagnostic));
            match diagnostic.severity {
                Severity::Error => tracing::error!(code, "{text}"),
                Severity::Warning => tracing::warn!(code, "{text}"),
                Severity::Note => tracing::info!(code, "{text}"),
            }
        }
        for mended in &reading.mended {
            let file = &mended.file;
            tracing::info!("{file}: {mended}: read again, what it says now counts");
        }
        self.said.clone_from(&reading.diagnostics);
    }
}

fn size(plan: &Plan<Policy>) -> (usize, usize) {
    let listeners = plan.ports.iter().flat_map(|port| &port.listeners);
    let routes = listeners
        .clone()
        .map(|listener| listener.routes.len())
        .sum();
    (listeners.count(), routes)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::*;
    use crate::args::ManifestArgs;

    /// Remembers what it was asked, and refuses plans when told to.
    #[derive(Default)]
    struct Remembering {
        asked: RefCell<Vec<&'static str>>,
        refuse: std::cell::Cell<bool>,
    }

    impl DataPlane for Remembering {
        fn apply(&self, _plan: &Plan<Policy>) -> Result<(), Failure> {
            self.asked.borrow_mut().push("apply");
            if self.refuse.get() {
                return Err("the port is taken".into());
            }
            Ok(())
        }

        fn set_endpoints(&self, _endpoints: &Endpoints) {
            self.asked.borrow_mut().push("endpoints");
        }

        async fn drain(&self, _deadline: Duration) -> bool {
            true
        }

        fn running(&self) -> usize {
            0
        }
    }

    fn manifests(port: u16, endpoint: u16) -> String {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: shared}}
spec: {{gatewayClassName: eg, listeners: [{{name: http, port: {port}, protocol: HTTP}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: app}}
spec:
  parentRefs: [{{name: shared}}]
  rules: [{{backendRefs: [{{name: app, port: 80}}]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: app}}
spec: {{ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: app-1, labels: {{kubernetes.io/service-name: app}}}}
addressType: IPv4
ports: [{{port: {endpoint}}}]
endpoints: [{{addresses: [10.0.0.1]}}]
"
        )
    }

    struct Scene {
        folder: tempfile::TempDir,
        control: Control<Remembering>,
    }

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let metrics = Arc::<Metrics>::default();
            let admin = Arc::new(Admin::new(Arc::clone(&metrics)));
            let args = ManifestArgs {
                paths: vec![folder.path().to_owned()],
                ..ManifestArgs::default()
            };
            let control = Control::new(&args, Remembering::default(), admin, metrics);
            Self { folder, control }
        }

        fn write(&self, text: &str) {
            std::fs::write(self.folder.path().join("a.yaml"), text).expect("it is written");
        }

        fn asked(&self) -> Vec<&'static str> {
            self.control.plane.asked.take()
        }

        fn counted(&self) -> (u64, u64) {
            let config = &self.control.metrics.config;
            (
                config.applied.load(Ordering::Relaxed),
                config.rejected.load(Ordering::Relaxed),
            )
        }
    }

    #[test]
    fn endpoints_come_before_the_plan_and_alone_when_only_they_change() {
        let mut scene = Scene::new();
        scene.write(&manifests(8080, 1));

        scene.control.begin().expect("it begins");
        assert_eq!(scene.asked(), ["endpoints", "apply"]);

        scene.write(&manifests(8080, 2));
        assert!(scene.control.look(false));
        assert_eq!(scene.asked(), ["endpoints"]);

        scene.write(&manifests(8081, 2));
        scene.control.look(false);
        assert_eq!(scene.asked(), ["apply"]);
        assert_eq!(scene.counted(), (2, 0));
    }

    #[test]
    fn nothing_is_asked_without_a_change_of_meaning() {
        let mut scene = Scene::new();
        scene.write(&manifests(8080, 1));
        scene.control.begin().expect("it begins");
        scene.asked();

        scene.write(&format!("# a comment\n{}", manifests(8080, 1)));

        assert!(!scene.control.look(false));
        assert!(!scene.control.look(true));

        assert!(scene.asked().is_empty());
    }

    #[test]
    fn a_plan_that_is_refused_leaves_the_one_before_and_is_tried_again() {
        let mut scene = Scene::new();
        scene.write(&manifests(8080, 1));
        scene.control.begin().expect("it begins");
        let before = Arc::clone(&scene.control.plan);

        scene.control.plane.refuse.set(true);
        scene.write(&manifests(8081, 1));
        assert!(scene.control.look(false));
        assert_eq!((scene.counted(), &scene.control.plan), ((1, 1), &before));

        scene.control.plane.refuse.set(false);
        scene.control.look(false);
        assert_eq!(scene.counted(), (2, 1));
    }

    #[test]
    fn what_cannot_begin_says_why() {
        let mut scene = Scene::new();
        scene.write(&manifests(8080, 1));
        scene.control.plane.refuse.set(true);

        assert_eq!(
            scene
                .control
                .begin()
                .expect_err("it is refused")
                .to_string(),
            "the port is taken"
        );
    }
}
