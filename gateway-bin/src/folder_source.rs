//! Configurations from folders of manifests.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use towergate_k8s::Diagnostic;
use towergate_k8s::decode::Severity;
use towergate_k8s::{FindingCode, Resolution};

use crate::Failure;
use crate::args::RunArgs;
use crate::control::{Applied, Desired, Initial, Source};
use crate::echo::EchoBackends;
use crate::manifest_loader::{ManifestLoader, Reading};
use crate::metrics::Metrics;
use crate::render::brief;
use crate::watch::Watch;

/// Maximum number of log lines per reading about untranslated settings of Ingresses.
const MAX_UNTRANSLATED: usize = 100;

/// Reads folders of manifests, and reads them again when they change.
pub(crate) struct FolderSource {
    loader: ManifestLoader,
    echo: EchoBackends,
    watch: Watch,
    metrics: Arc<Metrics>,
    /// Diagnostics of the last reading, which are not logged again.
    logged: BTreeSet<Diagnostic>,
    /// Whether the last configuration is not fully in service. If so, each poll applies it again.
    retry: bool,
}

impl FolderSource {
    /// Watches the folders of `args`, which `loader` reads.
    pub(crate) fn new(args: &RunArgs, loader: ManifestLoader, metrics: Arc<Metrics>) -> Self {
        Self {
            loader,
            echo: EchoBackends::default(),
            watch: Watch::new(&args.manifests.paths, args.poll_interval.0),
            metrics,
            logged: BTreeSet::new(),
            retry: false,
        }
    }

    /// Reads the manifests. Returns `None` if they are unchanged and `always` is not set.
    fn read(&mut self, always: bool) -> Option<Reading> {
        let echo = &mut self.echo;
        self.loader.read(always, |service| echo.address(service))
    }

    /// Reads the manifests after a change. If the last configuration is not fully in service, it is applied
    /// again.
    fn poll(&mut self, always: bool) -> Option<Desired> {
        self.watch.arm();
        let reading = self.read(always || self.retry)?;
        self.log(&reading);
        Some(desired(reading))
    }

    /// Logs diagnostics that the previous reading did not have.
    fn log(&mut self, reading: &Reading) {
        let errors = reading
            .diagnostics
            .iter()
            .filter(|d| d.severity == Severity::Error)
            .count();
        self.metrics
            .config
            .errors
            .store(u64::try_from(errors).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.metrics
            .config
            .note_ingress_settings(reading.ingress_settings.clone());
        let mut untranslated = 0;
        for diagnostic in &reading.diagnostics {
            if self.logged.contains(diagnostic) {
                continue;
            }
            untranslated += usize::from(diagnostic.code == FindingCode::NotTranslated);
            if diagnostic.code == FindingCode::NotTranslated && untranslated > MAX_UNTRANSLATED {
                continue;
            }
            let (code, text) = (diagnostic.code.as_str(), brief(diagnostic));
            match diagnostic.severity {
                Severity::Error => tracing::error!(code, "{text}"),
                Severity::Warning => tracing::warn!(code, "{text}"),
                Severity::Note => tracing::info!(code, "{text}"),
            }
        }
        if let Some(suppressed) = untranslated
            .checked_sub(MAX_UNTRANSLATED)
            .filter(|n| *n > 0)
        {
            tracing::warn!(
                suppressed,
                "further settings of Ingresses are not translated; `towergate check` with the same options lists them"
            );
        }
        for object in &reading.recovered {
            let file = &object.file;
            tracing::info!("{file}: {object}: readable again, the new version is in service");
        }
        self.logged = reading.diagnostics.iter().cloned().collect();
    }
}

impl Source for FolderSource {
    const HAS_PORT_FLAGS: bool = true;

    /// # Errors
    /// If a path cannot be read.
    fn start(&mut self) -> Result<Initial, Failure> {
        let Some(reading) = self.read(true) else {
            return Ok(Initial::Pending);
        };
        let unreadable = reading
            .diagnostics
            .iter()
            .filter(|d| d.code == FindingCode::Unreadable);
        let unreadable: Vec<String> = unreadable.map(brief).collect();
        if !unreadable.is_empty() {
            return Err(unreadable.join("; ").into());
        }
        self.log(&reading);
        Ok(Initial::Required(desired(reading)))
    }

    async fn next(&mut self) -> Desired {
        loop {
            self.watch.changed().await;
            if let Some(desired) = self.poll(false) {
                return desired;
            }
        }
    }

    fn reload(&mut self) -> Option<Desired> {
        self.poll(true)
    }

    fn report(&mut self, outcome: &Result<Applied, Failure>) {
        self.retry = !matches!(outcome, Ok(applied) if applied.unbound.is_empty());
    }
}

fn desired(reading: Reading) -> Desired {
    let Resolution {
        plan, endpoints, ..
    } = reading.resolution;
    Desired {
        plan: Arc::new(plan),
        endpoints: Arc::new(endpoints),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Admin;
    use crate::args::{Cli, Command};
    use crate::control::Control;
    use crate::control::tests::{FakeDataPlane, counts, unbound};

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
        source: FolderSource,
        control: Control<FakeDataPlane>,
    }

    impl Scene {
        fn new() -> Self {
            use clap::Parser;
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().to_str().expect("a UTF-8 path");
            let cli = Cli::try_parse_from(["towergate", "run", path]).expect("valid arguments");
            let Command::Run(args) = cli.command else {
                panic!("another command");
            };
            let metrics = Arc::<Metrics>::default();
            let admin = Arc::new(Admin::new(Arc::clone(&metrics)));
            let control = Control::new(FakeDataPlane::default(), admin, Arc::clone(&metrics));
            Self {
                folder,
                source: FolderSource::new(
                    &args,
                    ManifestLoader::new(&args.manifests).without_statuses(),
                    metrics,
                ),
                control,
            }
        }

        fn write(&self, text: &str) {
            std::fs::write(self.folder.path().join("a.yaml"), text).expect("the file is written");
        }

        fn start(&mut self) -> Result<(), Failure> {
            self.control.start(&mut self.source)
        }

        /// Whether the poll found a change to apply.
        fn poll(&mut self, always: bool) -> bool {
            let desired = self.source.poll(always);
            desired.is_some_and(|desired| self.control.serve(desired, &mut self.source))
        }

        fn calls(&self) -> Vec<&'static str> {
            self.control.data_plane().calls()
        }

        fn counts(&self) -> (u64, u64) {
            counts(&self.control)
        }
    }

    #[test]
    fn endpoints_are_applied_before_the_plan_and_alone_if_only_they_change() {
        let mut scene = Scene::new();
        scene.write(&manifests(8080, 1));

        scene.start().expect("it starts");
        assert_eq!(scene.calls(), ["endpoints", "apply"]);

        scene.write(&manifests(8080, 2));
        assert!(scene.poll(false));
        assert_eq!(scene.calls(), ["endpoints"]);

        scene.write(&manifests(8081, 2));
        scene.poll(false);
        assert_eq!(scene.calls(), ["apply"]);
        assert_eq!(scene.counts(), (2, 0));
    }

    #[test]
    fn a_change_without_effect_is_not_applied() {
        let mut scene = Scene::new();
        scene.write(&manifests(8080, 1));
        scene.start().expect("it starts");
        scene.calls();

        scene.write(&format!("# a comment\n{}", manifests(8080, 1)));

        assert!(!scene.poll(false));
        assert!(!scene.poll(true));

        assert!(scene.calls().is_empty());
    }

    #[test]
    fn a_rejected_plan_leaves_the_previous_one_and_is_tried_again() {
        let mut scene = Scene::new();
        scene.write(&manifests(8080, 1));
        scene.start().expect("it starts");
        let before = scene.control.plan().clone();

        scene.control.data_plane().reject.set(true);
        scene.write(&manifests(8081, 1));
        assert!(scene.poll(false));
        assert_eq!((scene.counts(), scene.control.plan()), ((1, 1), &before));

        scene.control.data_plane().reject.set(false);
        scene.poll(false);
        assert_eq!(scene.counts(), (2, 1));
    }

    #[test]
    fn an_address_that_cannot_be_bound_is_left_out_and_tried_again() {
        let mut scene = Scene::new();
        scene.write(&manifests(8080, 1));
        scene.start().expect("it starts");

        let blocked = &scene.control.data_plane().blocked;
        blocked.set(Some(([0, 0, 0, 0], 8081).into()));
        scene.write(&manifests(8081, 1));
        assert!(scene.poll(false));
        assert_eq!((scene.counts(), unbound(&scene.control)), ((2, 0), 1));
        assert!(!scene.poll(false), "the same address is not a change");

        scene.control.data_plane().blocked.set(None);
        scene.calls();
        assert!(scene.poll(false));
        assert_eq!(scene.calls(), ["apply"]);
        assert_eq!((scene.counts(), unbound(&scene.control)), ((2, 0), 0));
        assert!(!scene.poll(false));
        assert!(scene.calls().is_empty());
    }

    #[test]
    fn a_start_that_fails_reports_the_reason() {
        let mut scene = Scene::new();
        scene.write(&manifests(8080, 1));
        scene.control.data_plane().reject.set(true);

        assert_eq!(
            scene.start().expect_err("it fails").to_string(),
            "the plan cannot be built"
        );
    }
}
