//! Checks of the manifests and flags as a whole: nothing to serve, or a flag without effect.
//!
//! Each manifest is valid by itself, so no other check reports these problems.

use std::collections::BTreeSet;
use std::path::PathBuf;

use towergate_k8s::decode::Severity;
use towergate_k8s::source::Loaded;
use towergate_k8s::{Diagnostic, FindingCode, ObjectKey, Objects, ResolveOptions};

use crate::flags::name_parts;

/// Warns if there is nothing to serve, or if a flag refers to an object that does not exist.
pub(crate) fn find(paths: &[PathBuf], loaded: &Loaded, scope: &ResolveOptions) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    found.extend(nothing_to_serve(paths, loaded));
    found.extend(foreign_gateways(&loaded.objects, scope));
    found.extend(unknown_gateways(&loaded.objects, scope));
    found.extend(unknown_ports(&loaded.objects, scope));
    found.extend(unknown_services(&loaded.objects, scope));
    found
}

/// Warns if there is no manifest or no Gateway. An error in a manifest may be the cause and suppresses the warning.
fn nothing_to_serve(paths: &[PathBuf], loaded: &Loaded) -> Option<Diagnostic> {
    let broken = loaded
        .diagnostics
        .iter()
        .any(|d| d.severity == Severity::Error);
    if broken || !loaded.objects.gateways.is_empty() {
        return None;
    }
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let paths = paths.join(", ");
    // Files that contain only comments have no object and no diagnostic.
    let is_empty = loaded.diagnostics.is_empty() && loaded.objects == Objects::default();
    Some(if loaded.files.is_empty() || is_empty {
        Diagnostic::warning(
            FindingCode::NoManifest,
            match paths.is_empty() {
                true => "no manifest on standard input".to_owned(),
                false => format!("no manifest in {paths}"),
            },
            match (paths.is_empty(), loaded.files.is_empty()) {
                (true, _) => "write manifests in YAML or JSON to standard input",
                (false, true) => {
                    "pass files that end in .yaml, .yml or .json, or a folder of them; hidden files are skipped"
                }
                (false, false) => "the files contain no object; add one, or pass other files",
            },
        )
    } else {
        Diagnostic::warning(
            FindingCode::NoGateway,
            match paths.is_empty() {
                true => "no Gateway on standard input: nothing is served".to_owned(),
                false => format!("no Gateway in {paths}: nothing is served"),
            },
            "also pass the folder of the Gateway, or add a Gateway",
        )
    })
}

/// Warns if all Gateways belong to other controllers. If only some Gateways belong to other controllers,
/// there is no warning, because this is common.
fn foreign_gateways(objects: &Objects, scope: &ResolveOptions) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for gateway in objects.gateways.values() {
        let name = &gateway.spec.gateway_class_name;
        let class = objects.gateway_classes.get(&ObjectKey::new("", &**name));
        let Some(class) = class.filter(|c| c.spec.controller_name != scope.controller_name) else {
            return Vec::new();
        };
        let theirs = &class.spec.controller_name;
        let message = format!(
            "the Gateway is not served: GatewayClass {name} belongs to controller {theirs}, not to {}",
            scope.controller_name
        );
        let help = format!("to serve it, pass --controller-name {theirs}");
        let warning = Diagnostic::warning(FindingCode::GatewayOfAnotherController, message, help);
        found.push(warning.at("Gateway", gateway, "spec.gatewayClassName"));
    }
    found
}

fn unknown_gateways(objects: &Objects, scope: &ResolveOptions) -> impl Iterator<Item = Diagnostic> {
    let unknown = scope.bind_gateway.keys().filter(|name| {
        let key = name_parts(name).map(|(namespace, name)| ObjectKey::new(namespace, name));
        key.is_none_or(|key| !objects.gateways.contains_key(&key))
    });
    unknown.map(|name| {
        let message = format!("--bind {name}: no such Gateway in the manifests");
        let help = "name a Gateway of the manifests as NAMESPACE/NAME";
        Diagnostic::warning(FindingCode::UnknownBind, message, help)
    })
}

fn unknown_ports(objects: &Objects, scope: &ResolveOptions) -> impl Iterator<Item = Diagnostic> {
    let gateways = objects.gateways.values().map(|it| &it.spec.listeners);
    let sets = objects.listener_sets.values().map(|it| &it.spec.listeners);
    let known: BTreeSet<i32> = gateways
        .chain(sets)
        .flatten()
        .map(|listener| listener.port)
        .collect();
    let unknown = (scope.ports.iter()).filter(move |(port, _)| !known.contains(&i32::from(**port)));
    unknown.map(|(port, bound)| {
        let message = format!("--port {port}={bound}: no listener has port {port}");
        let help = "write the value as PORT=BOUND, with the port of a listener";
        Diagnostic::warning(FindingCode::UnknownPort, message, help)
    })
}

fn unknown_services(objects: &Objects, scope: &ResolveOptions) -> impl Iterator<Item = Diagnostic> {
    scope.endpoints.keys().filter_map(|backend| {
        let (namespace, name, port) = (&backend.namespace, &backend.name, backend.port);
        let service = objects.services.get(&ObjectKey::new(namespace, name));
        let what = match service {
            None => "no such Service in the manifests",
            Some(service) if service.spec.ports.iter().all(|p| p.port != port) => {
                "the Service does not have this port"
            }
            Some(_) => return None,
        };
        let message = format!("--endpoint {namespace}/{name}:{port}: {what}");
        let help = "name a port of a Service of the manifests as NAMESPACE/SERVICE:PORT";
        Some(Diagnostic::warning(
            FindingCode::UnknownEndpoint,
            message,
            help,
        ))
    })
}

#[cfg(test)]
mod tests {
    use towergate_k8s::FindingCode;

    use crate::args::ManifestArgs;
    use crate::manifest_loader::ManifestLoader;

    const GATEWAY: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: public, namespace: edge}\n\
                           spec: {gatewayClassName: eg, listeners: [{name: http, port: 80, protocol: HTTP}]}\n";
    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: echo, namespace: team}\nspec: {ports: [{port: 80}]}\n";

    /// The codes of the findings in a folder with this file.
    fn codes(file: Option<&str>, bind: &[&str], endpoints: &[&str]) -> Vec<FindingCode> {
        codes_with_ports(file, bind, endpoints, &[])
    }

    fn codes_with_ports(
        file: Option<&str>,
        bind: &[&str],
        endpoints: &[&str],
        ports: &[&str],
    ) -> Vec<FindingCode> {
        let folder = tempfile::tempdir().expect("a folder");
        if let Some(text) = file {
            std::fs::write(folder.path().join("a.yaml"), text).expect("the file is written");
        }
        let mut loader = ManifestLoader::new(&ManifestArgs {
            paths: vec![folder.path().to_owned()],
            bind: bind
                .iter()
                .map(|b| b.parse().expect("a valid value"))
                .collect(),
            endpoints: endpoints
                .iter()
                .map(|e| e.parse().expect("a valid value"))
                .collect(),
            ports: ports
                .iter()
                .map(|port| port.parse().expect("a valid value"))
                .collect(),
            ..ManifestArgs::default()
        });
        let reading = loader.read(true, |_| None).expect("a reading");
        let codes = reading.diagnostics.iter().map(|d| d.code);
        let ours = [
            FindingCode::NoManifest,
            FindingCode::NoGateway,
            FindingCode::UnknownBind,
            FindingCode::UnknownEndpoint,
            FindingCode::UnknownPort,
            FindingCode::GatewayOfAnotherController,
        ];
        codes.filter(|code| ours.contains(code)).collect()
    }

    #[test]
    fn nothing_to_serve_is_a_warning() {
        assert_eq!(codes(None, &[], &[]), [FindingCode::NoManifest]);
        for empty in ["", "# a comment\n", "---\n# a comment\n---\n"] {
            assert_eq!(
                codes(Some(empty), &[], &[]),
                [FindingCode::NoManifest],
                "{empty:?}"
            );
        }
        assert_eq!(codes(Some(SERVICE), &[], &[]), [FindingCode::NoGateway]);
        assert!(codes(Some(GATEWAY), &[], &[]).is_empty());
    }

    #[test]
    fn gateways_that_all_belong_to_other_controllers_are_a_warning() {
        let class = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: eg}\n\
                     spec: {controllerName: example.com/other}\n";
        let theirs = format!("{class}---\n{GATEWAY}");
        let ours = GATEWAY.replace("public", "ours").replace(": eg", ": us");

        let code = FindingCode::GatewayOfAnotherController;
        assert_eq!(codes(Some(&theirs), &[], &[]), [code]);
        assert!(codes(Some(&format!("{theirs}---\n{ours}")), &[], &[]).is_empty());
    }

    #[test]
    fn an_unreadable_file_is_reported_once() {
        assert!(codes(Some("kind: ["), &[], &[]).is_empty());
    }

    #[test]
    fn a_port_that_no_listener_has_is_a_warning() {
        let with = |port| codes_with_ports(Some(GATEWAY), &[], &[], &[port]);
        assert!(with("80=8080").is_empty());
        assert_eq!(with("8080=80"), [FindingCode::UnknownPort]);
    }

    #[test]
    fn flags_that_name_no_object_are_a_warning() {
        let all = format!("{GATEWAY}---\n{SERVICE}");

        for (bind, endpoint, expected) in [
            ("edge/public=127.0.0.1", "team/echo:80=127.0.0.1:1", &[][..]),
            (
                "edge/other=127.0.0.1",
                "team/echo:80=127.0.0.1:1",
                &[FindingCode::UnknownBind],
            ),
            (
                "127.0.0.1",
                "team/other:80=127.0.0.1:1",
                &[FindingCode::UnknownEndpoint],
            ),
            (
                "127.0.0.1",
                "team/echo:81=127.0.0.1:1",
                &[FindingCode::UnknownEndpoint],
            ),
        ] {
            assert_eq!(
                codes(Some(&all), &[bind], &[endpoint]),
                expected,
                "{bind} {endpoint}"
            );
        }
    }
}
