//! Loads manifests: reads folders, resolves the objects, and keeps the last good version of objects that
//! became unreadable.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use towergate_core::plan::{BackendId, Endpoint};
use towergate_k8s::decode::Severity;
use towergate_k8s::ingress::MigrationOutcome;
use towergate_k8s::resolve::{BackendUse, Parity, process_parameters};
use towergate_k8s::source::{Folder, RetainedObject, keep_last_good, read_again};
use towergate_k8s::{
    Diagnostic, FindingCode, ObjectKey, Objects, Resolution, ResolveOptions, resolve,
};
use towergate_policy::envoy_proxy::ProcessSettings;
use towergate_tls::server::UnknownName;

use crate::args::{ManifestArgs, ParityFlag};
use crate::ingresses::{self, TranslatedIngresses};
use crate::time::unix_seconds;
use crate::{preflight_checks, preflight_geoip};

/// Annotation of Services that the built-in echo backend serves. Value: `true`.
pub(crate) const ECHO_ANNOTATION: &str = "towergate.dev/echo";

/// Reads folders of manifests and stores the objects of the last reading.
pub(crate) struct ManifestLoader {
    folder: Folder,
    paths: Vec<PathBuf>,
    scope: ResolveOptions,
    /// Class of the Ingresses that are also served.
    ingress_class: Option<String>,
    /// Last translation of the Ingresses of `ingress_class`.
    ingresses: TranslatedIngresses,
    /// Process settings at startup. `None` in commands other than `run`.
    process: Option<ProcessSettings>,
    /// Whether each Gateway gets its own address.
    separate_addresses: bool,
    fingerprint: Option<u64>,
    last: Objects,
    /// Objects in `last` that cannot be read any more. Their last good versions are in service.
    kept: Vec<RetainedObject>,
}

/// The result of reading the manifests.
pub(crate) struct Reading {
    /// The objects, including those whose last good version is kept.
    #[cfg(test)]
    pub(crate) objects: Objects,
    /// Plan, endpoints and statuses.
    pub(crate) resolution: Resolution,
    /// All diagnostics, by file and line.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Diagnostics of objects that are unreadable, which appear in no status.
    pub(crate) unreadable: Vec<Diagnostic>,
    /// Objects that became readable again.
    pub(crate) recovered: Vec<RetainedObject>,
    /// Number of settings of Ingresses by outcome of the translation. Empty: no Ingresses are served.
    pub(crate) ingress_settings: Vec<(MigrationOutcome, usize)>,
}

impl ManifestLoader {
    /// A loader for the folders of `args`. Reads nothing yet.
    pub(crate) fn new(args: &ManifestArgs) -> Self {
        Self {
            folder: Folder::new(args.strict).with_ingresses_served(args.ingress_class.is_some()),
            paths: args.paths.clone(),
            scope: scope(args),
            ingress_class: args.ingress_class.clone(),
            ingresses: TranslatedIngresses::default(),
            process: None,
            separate_addresses: false,
            fingerprint: None,
            last: Objects::default(),
            kept: Vec::new(),
        }
    }

    /// Assigns a separate address to each Gateway, as in a cluster. If `--bind` sets addresses, these are
    /// used instead. The separate addresses are placeholders from the benchmarking network 198.18.0.0/15 (RFC
    /// 2544).
    pub(crate) fn with_separate_addresses(mut self, args: &ManifestArgs) -> Self {
        self.separate_addresses = args.bind.is_empty();
        self
    }

    /// Skips statuses, which `run` does not use.
    pub(crate) fn without_statuses(mut self) -> Self {
        self.scope.statuses = false;
        self
    }

    /// The process settings in the EnvoyProxies of this controller's Gateways. The settings of the first
    /// Gateway by name apply, because one process serves all Gateways.
    pub(crate) fn process_settings(&mut self) -> ProcessSettings {
        let objects = self.folder.read(&self.paths).objects;
        let found = process_parameters(&objects, &self.scope);
        let settings = found.map(|(_, settings)| settings).unwrap_or_default();
        self.process = Some(settings.clone());
        settings
    }

    /// A warning if the process settings have changed since startup.
    fn changed_process(&self, objects: &Objects) -> Option<Diagnostic> {
        let started = self.process.as_ref()?;
        let (of, now) = match process_parameters(objects, &self.scope) {
            Some((gateway, settings)) => (format!("of Gateway {gateway} "), settings),
            None => (String::new(), ProcessSettings::default()),
        };
        let fields = now.differing(started);
        let message = format!(
            "settings {of}of the process changed after its start: {}",
            fields.join(", ")
        );
        let help = "restart the process to apply them";
        let warning = Diagnostic::warning(FindingCode::ParametersIgnored, message, help);
        (!fields.is_empty()).then_some(warning)
    }

    /// Adds a manifest that is not a file, such as standard input.
    pub(crate) fn with_text(mut self, name: &str, text: String) -> Self {
        self.folder = self.folder.with_text(name, text);
        self
    }

    /// The objects of the last reading.
    pub(crate) fn objects(&self) -> &Objects {
        &self.last
    }

    /// Reads all manifests. Returns `None` if nothing has changed since the last reading and `always` is not
    /// set. `echo` returns the address of the echo backend of a Service that has [`ECHO_ANNOTATION`].
    pub(crate) fn read(
        &mut self,
        always: bool,
        mut echo: impl FnMut(&ObjectKey) -> Option<SocketAddr>,
    ) -> Option<Reading> {
        let mut loaded = self.folder.read(&self.paths);
        let unchanged = self.fingerprint == Some(loaded.fingerprint);
        if !always && unchanged {
            return None;
        }
        // The translation depends only on the files, so unchanged files are not translated again.
        if let Some(class) = self.ingress_class.as_ref().filter(|_| !unchanged) {
            self.ingresses = ingresses::translate_files(&loaded.files, class);
            let text = std::mem::take(&mut self.ingresses.text);
            self.folder.set_text(ingresses::NAME, text);
            loaded = self.folder.read(&self.paths);
        }
        self.fingerprint = Some(loaded.fingerprint);
        let kept = keep_last_good(&self.last, &mut loaded);
        let recovered = read_again(&self.kept, &kept, &loaded.objects);
        self.kept = kept;
        self.last = loaded.objects.clone();

        let mut scope = self.scope.clone();
        scope.now = Some(unix_seconds(SystemTime::now()));
        if self.separate_addresses {
            let addresses = (1..).map(|n| IpAddr::from(Ipv4Addr::from_bits(0xc612_0000 + n)));
            let gateways = loaded.objects.gateways.keys().map(ToString::to_string);
            scope.bind_gateway = gateways
                .zip(addresses.map(|address| vec![address]))
                .collect();
        }
        for backend in echo_backends(&loaded.objects) {
            let key = ObjectKey::new(&*backend.namespace, &*backend.name);
            if let Some(address) = echo(&key) {
                scope
                    .endpoints
                    .entry(backend)
                    .or_insert_with(|| vec![Endpoint::from(address)]);
            }
        }
        let mut resolution = resolve(&loaded.objects, &scope);
        let mut findings = preflight_checks::find(&self.paths, &loaded, &self.scope);
        if self.scope.statuses {
            findings.extend(preflight_geoip::find(&loaded.objects, &self.scope));
        }
        let mut diagnostics = loaded.diagnostics;
        let unreadable = errors(&diagnostics);
        diagnostics.extend(findings);
        diagnostics.extend(self.ingresses.findings.iter().cloned());
        diagnostics.extend(self.changed_process(&self.last));
        diagnostics.append(&mut resolution.diagnostics);
        diagnostics.sort_by(|a, b| {
            let by_place = |d: &Diagnostic| (d.file.clone(), d.line, d.column);
            by_place(a).cmp(&by_place(b))
        });
        diagnostics.dedup();
        remove_restated(&mut diagnostics);
        Some(Reading {
            #[cfg(test)]
            objects: loaded.objects,
            resolution,
            diagnostics,
            unreadable,
            recovered,
            ingress_settings: self.ingresses.settings.clone(),
        })
    }
}

/// Removes the schema violation of a backendRef without a port if resolution also reports the missing port.
/// The finding of resolution states the effect, which is smaller than that of other violations.
fn remove_restated(diagnostics: &mut Vec<Diagnostic>) {
    let is_violation = |d: &Diagnostic| d.code == FindingCode::SchemaViolation;
    let field = |d: &Diagnostic| (d.kind.clone(), d.object.clone(), d.field.clone());
    let specific: HashSet<_> = diagnostics
        .iter()
        .filter(|d| d.code == FindingCode::BackendPort)
        .map(field)
        .collect();
    diagnostics.retain(|d| !is_violation(d) || !specific.contains(&field(d)));
}

fn errors(diagnostics: &[Diagnostic]) -> Vec<Diagnostic> {
    let errors = diagnostics.iter().filter(|d| d.severity == Severity::Error);
    errors.cloned().collect()
}

/// The ports of Services that have [`ECHO_ANNOTATION`].
fn echo_backends(objects: &Objects) -> impl Iterator<Item = BackendId> {
    let annotated = objects.services.iter().filter(|(_, service)| {
        service
            .meta
            .annotations
            .get(ECHO_ANNOTATION)
            .is_some_and(|value| value == "true")
    });
    annotated.flat_map(|(key, service)| {
        let ports = service.spec.ports.iter();
        // The echo backend serves HTTP only.
        let ports = ports.filter(|port| port.protocol.as_deref() != Some("UDP"));
        ports.map(|port| BackendId::service(&key.namespace, &key.name, port.port))
    })
}

fn scope(args: &ManifestArgs) -> ResolveOptions {
    let mut bind = Vec::new();
    let mut bind_gateway: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for given in &args.bind {
        match &given.gateway {
            Some(gateway) => bind_gateway
                .entry(gateway.clone())
                .or_default()
                .push(given.address),
            None => bind.push(given.address),
        }
    }
    if bind.is_empty() {
        bind.push(Ipv4Addr::UNSPECIFIED.into());
    }
    let mut endpoints: BTreeMap<BackendId, Vec<Endpoint>> = BTreeMap::new();
    for given in &args.endpoints {
        let endpoint = Endpoint {
            address: given.address.into(),
            weight: 1,
            zone: None,
        };
        endpoints
            .entry(given.backend.clone())
            .or_default()
            .push(endpoint);
    }
    ResolveOptions {
        controller_name: args.controller_name.clone(),
        serve_unclassed: true,
        ports: args.ports.iter().map(|map| (map.port, map.bound)).collect(),
        reserved: Default::default(),
        bind,
        bind_gateway,
        assigned: None,
        endpoints,
        now: None,
        unknown_name: match args.refuse_unknown_sni {
            true => UnknownName::Refuse,
            false => UnknownName::FirstCertificate,
        },
        provider: None,
        session_keys: args.session_keys.clone().map(|name| name.0),
        own_session_keys: None,
        geoip_databases: args.geoip_databases.clone(),
        rate_limit_service: args.rate_limit.service(),
        parity: Parity {
            strict_host: args.parity.contains(&ParityFlag::StrictHost),
            keep_external_address: args.parity.contains(&ParityFlag::ExternalAddress),
            cors: args.parity.contains(&ParityFlag::Cors),
        },
        backends: BackendUse {
            enabled: !args.no_backends,
            loopback: true,
            dynamic: args.dynamic_resolver.targets().map(Arc::new),
            socket_folders: args.backend_socket_folders.clone(),
        },
        one_process: true,
        statuses: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loader(folder: &std::path::Path) -> ManifestLoader {
        ManifestLoader::new(&ManifestArgs {
            paths: vec![folder.to_owned()],
            ..ManifestArgs::default()
        })
    }

    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  annotations: {towergate.dev/echo: \"true\"}\n\
                           spec: {ports: [{port: 80}, {port: 81}]}\n";

    #[test]
    fn unchanged_files_are_not_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("a.yaml"), SERVICE).expect("the file is written");
        let mut loader = loader(folder.path());

        assert!(loader.read(false, |_| None).is_some());
        assert!(loader.read(false, |_| None).is_none());
        assert!(loader.read(true, |_| None).is_some());
        std::fs::write(folder.path().join("a.yaml"), SERVICE.replace("81", "82"))
            .expect("the file is written");
        assert!(loader.read(false, |_| None).is_some());
    }

    #[test]
    fn an_unreadable_object_keeps_its_last_good_version_until_it_is_readable_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.yaml");
        let mut loader = loader(folder.path());
        std::fs::write(&file, SERVICE).expect("the file is written");
        loader.read(false, |_| None);

        for _ in 0..2 {
            std::fs::write(&file, SERVICE.replace("port: 81", "port: ["))
                .expect("the file is written");
            let reading = loader.read(true, |_| None).expect("a reading");

            assert_eq!(reading.objects.services.len(), 1);
            assert_eq!(loader.kept[0].key.to_string(), "default/a");
            assert_eq!(reading.diagnostics.len(), 1);
            assert_eq!(reading.recovered, []);
        }
        std::fs::write(&file, SERVICE).expect("the file is written");
        let reading = loader.read(true, |_| None).expect("a reading");
        assert_eq!(reading.recovered[0].to_string(), "Service default/a");
        std::fs::remove_file(&file).expect("the file is removed");
        assert_eq!(
            loader.read(false, |_| None).expect("a reading").objects,
            Objects::default()
        );
    }

    #[test]
    fn a_change_of_the_settings_of_the_process_is_a_warning_until_it_is_reverted() {
        let manifest = |workers: u8| {
            format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: a}}\n\
                 spec: {{gatewayClassName: eg, listeners: [{{name: h, port: 80, protocol: HTTP}}], \
                 infrastructure: {{parametersRef: {{group: gateway.envoyproxy.io, kind: EnvoyProxy, name: p}}}}}}\n---\n\
                 apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyProxy\nmetadata: {{name: p}}\n\
                 spec: {{concurrency: {workers}}}\n"
            )
        };
        let folder = tempfile::tempdir().expect("a folder");
        let write = |workers| {
            std::fs::write(folder.path().join("a.yaml"), manifest(workers))
                .expect("the file is written");
        };
        write(2);
        let mut loader = loader(folder.path());
        assert_eq!(loader.process_settings().workers, Some(2));
        let mut warnings = |workers| {
            write(workers);
            let reading = loader.read(true, |_| None).expect("a reading");
            let found = reading.diagnostics.into_iter();
            let found = found.filter(|d| d.code == FindingCode::ParametersIgnored);
            found.map(|d| d.message).collect::<Vec<_>>()
        };

        assert!(warnings(2).is_empty());
        assert_eq!(
            warnings(4),
            ["settings of Gateway default/a of the process changed after its start: concurrency"]
        );
        assert!(warnings(2).is_empty());
    }

    #[test]
    fn the_annotation_selects_the_echo_backend() {
        let annotated = towergate_k8s::decode::decode("", SERVICE).objects;
        let other =
            towergate_k8s::decode::decode("", &SERVICE.replace("\"true\"", "\"false\"")).objects;

        let ports: Vec<u16> = echo_backends(&annotated)
            .map(|backend| backend.port)
            .collect();
        assert_eq!(ports, [80, 81]);
        assert_eq!(echo_backends(&other).count(), 0);
    }
}
