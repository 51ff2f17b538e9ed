//! What the manifests say: read, kept where they are broken, resolved.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::SystemTime;

use towergate_core::plan::{BackendId, Endpoint};
use towergate_k8s::decode::Severity;
use towergate_k8s::resolve::Parity;
use towergate_k8s::source::{Folder, Kept, keep_last_good, read_again};
use towergate_k8s::{Diagnostic, ObjectKey, Objects, Resolution, Scope, resolve};
use towergate_tls::server::UnknownName;

use crate::args::{ManifestArgs, ParityFlag};
use crate::suspicions;
use crate::time::unix_seconds;

/// Services with this annotation set to `true` are answered by a built-in echo backend.
pub(crate) const ECHO_ANNOTATION: &str = "towergate.dev/echo";

/// Folders of manifests, and what was last read from them.
pub(crate) struct World {
    folder: Folder,
    paths: Vec<PathBuf>,
    scope: Scope,
    /// Each Gateway without an address gets one of its own.
    apart: bool,
    fingerprint: Option<u64>,
    last: Objects,
    /// Those of `last` that could not be read.
    kept: Vec<Kept>,
}

/// What the manifests say now.
pub(crate) struct Reading {
    /// The objects, those that were kept included.
    #[cfg(test)]
    pub(crate) objects: Objects,
    /// What they mean.
    pub(crate) resolution: Resolution,
    /// What is wrong or suspicious, by file and line.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Those that say why something could not be read: no status can tell them.
    pub(crate) unread: Vec<Diagnostic>,
    /// Objects that could not be read the last time, and are now.
    pub(crate) mended: Vec<Kept>,
}

impl World {
    /// The world that `args` describe, not read yet.
    pub(crate) fn new(args: &ManifestArgs) -> Self {
        Self {
            folder: Folder::new(args.strict),
            paths: args.paths.clone(),
            scope: scope(args),
            apart: false,
            fingerprint: None,
            last: Objects::default(),
            kept: Vec::new(),
        }
    }

    /// Gives each Gateway an address of its own, as a cluster does, unless `--bind` says where it is. The
    /// addresses only stand for those of a cluster: they are of the network that nobody routes (RFC 2544).
    pub(crate) fn apart(mut self, args: &ManifestArgs) -> Self {
        self.apart = args.bind.is_empty();
        self
    }

    /// Works out no statuses: nobody reads them.
    pub(crate) fn without_statuses(mut self) -> Self {
        self.scope.statuses = false;
        self
    }

    /// Reads everything. `None`: nothing has changed since the last time, and `always` is not set.
    /// `echo` gives the address of the built-in backend of a Service that asks for one.
    pub(crate) fn read(
        &mut self,
        always: bool,
        mut echo: impl FnMut(&ObjectKey) -> Option<SocketAddr>,
    ) -> Option<Reading> {
        let mut loaded = self.folder.read(&self.paths);
        if !always && self.fingerprint == Some(loaded.fingerprint) {
            return None;
        }
        self.fingerprint = Some(loaded.fingerprint);
        let kept = keep_last_good(&self.last, &mut loaded);
        let mended = read_again(&self.kept, &kept, &loaded.objects);
        self.kept = kept;
        self.last = loaded.objects.clone();

        let mut scope = self.scope.clone();
        scope.now = Some(unix_seconds(SystemTime::now()));
        if self.apart {
            let addresses = (1..).map(|n| IpAddr::from(Ipv4Addr::from_bits(0xc612_0000 + n)));
            let gateways = loaded.objects.gateways.keys().map(ToString::to_string);
            scope.bind_gateway = gateways
                .zip(addresses.map(|address| vec![address]))
                .collect();
        }
        for backend in echoed(&loaded.objects) {
            let key = ObjectKey::new(&*backend.namespace, &*backend.name);
            if let Some(address) = echo(&key) {
                scope
                    .endpoints
                    .entry(backend)
                    .or_insert_with(|| vec![Endpoint { address, weight: 1 }]);
            }
        }
        let mut resolution = resolve(&loaded.objects, &scope);
        let suspicions = suspicions::find(&self.paths, &loaded, &self.scope);
        let mut diagnostics = loaded.diagnostics;
        let unread = errors(&diagnostics);
        diagnostics.extend(suspicions);
        diagnostics.append(&mut resolution.diagnostics);
        diagnostics.sort_by(|a, b| {
            let by_place = |d: &Diagnostic| (d.file.clone(), d.line, d.column);
            by_place(a).cmp(&by_place(b))
        });
        diagnostics.dedup();
        Some(Reading {
            #[cfg(test)]
            objects: loaded.objects,
            resolution,
            diagnostics,
            unread,
            mended,
        })
    }
}

fn errors(diagnostics: &[Diagnostic]) -> Vec<Diagnostic> {
    let errors = diagnostics.iter().filter(|d| d.severity == Severity::Error);
    errors.cloned().collect()
}

/// The ports of Services that ask for the built-in echo backend.
fn echoed(objects: &Objects) -> impl Iterator<Item = BackendId> {
    let asking = objects.services.iter().filter(|(_, service)| {
        service
            .meta
            .annotations
            .get(ECHO_ANNOTATION)
            .is_some_and(|value| value == "true")
    });
    asking.flat_map(|(key, service)| {
        let ports = service.spec.ports.iter();
        // The echo speaks HTTP.
        let ports = ports.filter(|port| port.protocol.as_deref() != Some("UDP"));
        ports.map(|port| BackendId {
            kind: "Service".to_owned(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            port: port.port,
        })
    })
}

fn scope(args: &ManifestArgs) -> Scope {
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
            address: given.address,
            weight: 1,
        };
        endpoints
            .entry(given.backend.clone())
            .or_default()
            .push(endpoint);
    }
    Scope {
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
        parity: Parity {
            strict_host: args.parity.contains(&ParityFlag::StrictHost),
            keep_external_address: args.parity.contains(&ParityFlag::ExternalAddress),
        },
        statuses: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(folder: &std::path::Path) -> World {
        World::new(&ManifestArgs {
            paths: vec![folder.to_owned()],
            ..ManifestArgs::default()
        })
    }

    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  annotations: {towergate.dev/echo: \"true\"}\n\
                           spec: {ports: [{port: 80}, {port: 81}]}\n";

    #[test]
    fn nothing_is_read_again_without_a_change() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("a.yaml"), SERVICE).expect("it is written");
        let mut world = world(folder.path());

        assert!(world.read(false, |_| None).is_some());
        assert!(world.read(false, |_| None).is_none());
        assert!(world.read(true, |_| None).is_some());
        std::fs::write(folder.path().join("a.yaml"), SERVICE.replace("81", "82"))
            .expect("it is written");
        assert!(world.read(false, |_| None).is_some());
    }

    #[test]
    fn a_broken_object_stays_as_it_was_until_it_is_mended() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.yaml");
        let mut world = world(folder.path());
        std::fs::write(&file, SERVICE).expect("it is written");
        world.read(false, |_| None);

        for _ in 0..2 {
            std::fs::write(&file, SERVICE.replace("port: 81", "port: [")).expect("it is written");
            let reading = world.read(true, |_| None).expect("it is read");

            assert_eq!(reading.objects.services.len(), 1);
            assert_eq!(world.kept[0].key.to_string(), "default/a");
            assert_eq!(reading.diagnostics.len(), 1);
            assert_eq!(reading.mended, []);
        }
        std::fs::write(&file, SERVICE).expect("it is written");
        let reading = world.read(true, |_| None).expect("it is read");
        assert_eq!(reading.mended[0].to_string(), "Service default/a");
        std::fs::remove_file(&file).expect("it is removed");
        assert_eq!(
            world.read(false, |_| None).expect("it is read").objects,
            Objects::default()
        );
    }

    #[test]
    fn services_ask_for_the_echo_backend_by_annotation() {
        let asking = towergate_k8s::decode::decode("", SERVICE).objects;
        let not =
            towergate_k8s::decode::decode("", &SERVICE.replace("\"true\"", "\"false\"")).objects;

        let ports: Vec<u16> = echoed(&asking).map(|backend| backend.port).collect();
        assert_eq!(ports, [80, 81]);
        assert_eq!(echoed(&not).count(), 0);
    }
}
