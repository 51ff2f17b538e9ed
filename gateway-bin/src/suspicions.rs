//! What is suspicious about all manifests together and about the options that name objects: each is right by
//! itself, but nothing will be served, or an option does nothing.

use std::path::PathBuf;

use towergate_k8s::decode::Severity;
use towergate_k8s::source::Loaded;
use towergate_k8s::{Diagnostic, ObjectKey, Objects, Scope};

use crate::flags::name_parts;

/// Warns if there is nothing to serve, and of options that name no object.
pub(crate) fn find(paths: &[PathBuf], loaded: &Loaded, scope: &Scope) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    found.extend(nothing_to_serve(paths, loaded));
    found.extend(gateways_of_others(&loaded.objects, scope));
    found.extend(unknown_gateways(&loaded.objects, scope));
    found.extend(unknown_services(&loaded.objects, scope));
    found
}

/// Where something could not be read, that is the cause and told already.
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
    Some(if loaded.files.is_empty() {
        Diagnostic::warning(
            "no-manifest",
            format!("There is no manifest in {paths}."),
            "Manifests are files that end in .yaml, .yml or .json; hidden ones are skipped.",
        )
    } else {
        Diagnostic::warning(
            "no-gateway",
            format!("There is no Gateway in {paths}: nothing is served."),
            "Give the folder of the Gateway, too, or add a Gateway.",
        )
    })
}

/// Gateways of other controllers, if there are no others. Beside one of ours they may well stand.
fn gateways_of_others(objects: &Objects, scope: &Scope) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for gateway in objects.gateways.values() {
        let name = &gateway.spec.gateway_class_name;
        let class = objects.gateway_classes.get(&ObjectKey::new("", &**name));
        let Some(class) = class.filter(|c| c.spec.controller_name != scope.controller_name) else {
            return Vec::new();
        };
        let theirs = &class.spec.controller_name;
        let message = format!(
            "The Gateway is not served: GatewayClass {name} is for controller {theirs}, and this is {}.",
            scope.controller_name
        );
        let help = format!("To serve it, give --controller-name {theirs}.");
        let warning = Diagnostic::warning("gateway-of-another-controller", message, help);
        found.push(warning.at("Gateway", gateway, "spec.gatewayClassName"));
    }
    found
}

fn unknown_gateways(objects: &Objects, scope: &Scope) -> impl Iterator<Item = Diagnostic> {
    let unknown = scope.bind_gateway.keys().filter(|name| {
        let key = name_parts(name).map(|(namespace, name)| ObjectKey::new(namespace, name));
        key.is_none_or(|key| !objects.gateways.contains_key(&key))
    });
    unknown.map(|name| {
        let message = format!("`--bind {name}=` names a Gateway that is not there.");
        let help = "Write it as NAMESPACE/NAME of a Gateway in the manifests.";
        Diagnostic::warning("unknown-bind", message, help)
    })
}

fn unknown_services(objects: &Objects, scope: &Scope) -> impl Iterator<Item = Diagnostic> {
    scope.endpoints.keys().filter_map(|backend| {
        let (namespace, name, port) = (&backend.namespace, &backend.name, backend.port);
        let service = objects.services.get(&ObjectKey::new(namespace, name));
        let what = match service {
            None => "a Service that is not there",
            Some(service) if service.spec.ports.iter().all(|p| p.port != port) => {
                "a port that the Service does not have"
            }
            Some(_) => return None,
        };
        let message = format!("`--endpoint {namespace}/{name}:{port}=` names {what}.");
        let help = "Write it as NAMESPACE/SERVICE:PORT of a Service in the manifests.";
        Some(Diagnostic::warning("unknown-endpoint", message, help))
    })
}

#[cfg(test)]
mod tests {
    use crate::args::ManifestArgs;
    use crate::world::World;

    const GATEWAY: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: public, namespace: edge}\n\
                           spec: {gatewayClassName: eg, listeners: [{name: http, port: 80, protocol: HTTP}]}\n";
    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: echo, namespace: team}\nspec: {ports: [{port: 80}]}\n";

    /// The codes of what is found in a folder with this file.
    fn codes(file: Option<&str>, bind: &[&str], endpoints: &[&str]) -> Vec<&'static str> {
        let folder = tempfile::tempdir().expect("a folder");
        if let Some(text) = file {
            std::fs::write(folder.path().join("a.yaml"), text).expect("it is written");
        }
        let mut world = World::new(&ManifestArgs {
            paths: vec![folder.path().to_owned()],
            bind: bind.iter().map(|b| b.parse().expect("good")).collect(),
            endpoints: endpoints.iter().map(|e| e.parse().expect("good")).collect(),
            ..ManifestArgs::default()
        });
        let reading = world.read(true, |_| None).expect("it is read");
        let codes = reading.diagnostics.iter().map(|d| d.code);
        let ours = [
            "no-manifest",
            "no-gateway",
            "unknown-bind",
            "unknown-endpoint",
            "gateway-of-another-controller",
        ];
        codes.filter(|code| ours.contains(code)).collect()
    }

    #[test]
    fn nothing_to_serve_is_suspicious() {
        assert_eq!(codes(None, &[], &[]), ["no-manifest"]);
        assert_eq!(codes(Some(SERVICE), &[], &[]), ["no-gateway"]);
        assert!(codes(Some(GATEWAY), &[], &[]).is_empty());
    }

    #[test]
    fn gateways_that_are_all_of_others_are_suspicious() {
        let class = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: eg}\n\
                     spec: {controllerName: example.com/other}\n";
        let theirs = format!("{class}---\n{GATEWAY}");
        let ours = GATEWAY.replace("public", "ours").replace(": eg", ": us");

        let code = "gateway-of-another-controller";
        assert_eq!(codes(Some(&theirs), &[], &[]), [code]);
        assert!(codes(Some(&format!("{theirs}---\n{ours}")), &[], &[]).is_empty());
    }

    #[test]
    fn a_broken_file_is_not_told_twice() {
        assert!(codes(Some("kind: ["), &[], &[]).is_empty());
    }

    #[test]
    fn options_that_name_no_object_are_suspicious() {
        let all = format!("{GATEWAY}---\n{SERVICE}");

        for (bind, endpoint, expected) in [
            ("edge/public=127.0.0.1", "team/echo:80=127.0.0.1:1", &[][..]),
            (
                "edge/other=127.0.0.1",
                "team/echo:80=127.0.0.1:1",
                &["unknown-bind"],
            ),
            (
                "127.0.0.1",
                "team/other:80=127.0.0.1:1",
                &["unknown-endpoint"],
            ),
            (
                "127.0.0.1",
                "team/echo:81=127.0.0.1:1",
                &["unknown-endpoint"],
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
