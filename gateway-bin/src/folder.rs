//! Plans from folders of manifests.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use towergate_k8s::Diagnostic;
use towergate_k8s::Resolution;
use towergate_k8s::decode::Severity;

use crate::Failure;
use crate::args::RunArgs;
use crate::control::{First, Source, Wanted};
use crate::echo::Echoes;
use crate::metrics::Metrics;
use crate::render::brief;
use crate::watch::Watch;
use crate::world::{Reading, World};

/// Reads folders, and reads them again when they change.
pub(crate) struct Folders {
    world: World,
    echoes: Echoes,
    watch: Watch,
    metrics: Arc<Metrics>,
    /// What was said about the manifests when they were last read.
    said: Vec<Diagnostic>,
    /// The plan of the last reading is not in service: each look tries again.
    refused: bool,
}

impl Folders {
    /// Watches the folders of `args`.
    pub(crate) fn new(args: &RunArgs, metrics: Arc<Metrics>) -> Self {
        Self {
            world: World::new(&args.manifests).without_statuses(),
            echoes: Echoes::default(),
            watch: Watch::new(&args.manifests.paths, args.poll_interval.0),
            metrics,
            said: Vec::new(),
            refused: false,
        }
    }

    /// Reads; `None`: nothing has changed, and `always` is not set.
    fn read(&mut self, always: bool) -> Option<Reading> {
        let echoes = &mut self.echoes;
        self.world.read(always, |service| echoes.address(service))
    }

    /// Reads again. A plan that was refused is tried again.
    fn look(&mut self, always: bool) -> Option<Wanted> {
        self.watch.arm();
        let reading = self.read(always || self.refused)?;
        self.say(&reading);
        Some(wanted(reading))
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

impl Source for Folders {
    /// # Errors
    /// If a path cannot be read.
    fn begin(&mut self) -> Result<First, Failure> {
        let Some(reading) = self.read(true) else {
            return Ok(First::Later);
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
        Ok(First::Needed(wanted(reading)))
    }

    async fn next(&mut self) -> Wanted {
        loop {
            self.watch.changed().await;
            if let Some(wanted) = self.look(false) {
                return wanted;
            }
        }
    }

    fn look_again(&mut self) -> Option<Wanted> {
        self.look(true)
    }

    fn note(&mut self, outcome: &Result<bool, Failure>) {
        self.refused = outcome.is_err();
    }
}

fn wanted(reading: Reading) -> Wanted {
    let Resolution {
        plan, endpoints, ..
    } = reading.resolution;
    Wanted {
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
    use crate::control::tests::{Remembering, counted};

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
        source: Folders,
        control: Control<Remembering>,
    }

    impl Scene {
        fn new() -> Self {
            use clap::Parser;
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().to_str().expect("a plain name");
            let cli = Cli::try_parse_from(["towergate", "run", path]).expect("it is enough");
            let Command::Run(args) = cli.command else {
                panic!("it is run");
            };
            let metrics = Arc::<Metrics>::default();
            let admin = Arc::new(Admin::new(Arc::clone(&metrics)));
            let control = Control::new(Remembering::default(), admin, Arc::clone(&metrics));
            Self {
                folder,
                source: Folders::new(&args, metrics),
                control,
            }
        }

        fn write(&self, text: &str) {
            std::fs::write(self.folder.path().join("a.yaml"), text).expect("it is written");
        }

        fn begin(&mut self) -> Result<(), Failure> {
            self.control.begin(&mut self.source)
        }

        /// Whether there was something to take.
        fn look(&mut self, always: bool) -> bool {
            let wanted = self.source.look(always);
            wanted.is_some_and(|wanted| self.control.serve(wanted, &mut self.source))
        }

        fn asked(&self) -> Vec<&'static str> {
            self.control.plane().asked()
        }

        fn counted(&self) -> (u64, u64) {
            counted(&self.control)
        }
    }

    #[test]
    fn endpoints_come_before_the_plan_and_alone_when_only_they_change() {
        let mut scene = Scene::new();
        scene.write(&manifests(8080, 1));

        scene.begin().expect("it begins");
        assert_eq!(scene.asked(), ["endpoints", "apply"]);

        scene.write(&manifests(8080, 2));
        assert!(scene.look(false));
        assert_eq!(scene.asked(), ["endpoints"]);

        scene.write(&manifests(8081, 2));
        scene.look(false);
        assert_eq!(scene.asked(), ["apply"]);
        assert_eq!(scene.counted(), (2, 0));
    }

    #[test]
    fn nothing_is_asked_without_a_change_of_meaning() {
        let mut scene = Scene::new();
        scene.write(&manifests(8080, 1));
        scene.begin().expect("it begins");
        scene.asked();

        scene.write(&format!("# a comment\n{}", manifests(8080, 1)));

        assert!(!scene.look(false));
        assert!(!scene.look(true));

        assert!(scene.asked().is_empty());
    }

    #[test]
    fn a_plan_that_is_refused_leaves_the_one_before_and_is_tried_again() {
        let mut scene = Scene::new();
        scene.write(&manifests(8080, 1));
        scene.begin().expect("it begins");
        let before = scene.control.plan().clone();

        scene.control.plane().refuse.set(true);
        scene.write(&manifests(8081, 1));
        assert!(scene.look(false));
        assert_eq!((scene.counted(), scene.control.plan()), ((1, 1), &before));

        scene.control.plane().refuse.set(false);
        scene.look(false);
        assert_eq!(scene.counted(), (2, 1));
    }

    #[test]
    fn what_cannot_begin_says_why() {
        let mut scene = Scene::new();
        scene.write(&manifests(8080, 1));
        scene.control.plane().refuse.set(true);

        assert_eq!(
            scene.begin().expect_err("it is refused").to_string(),
            "the port is taken"
        );
    }
}
