//! Installations that exceed the limits of one object of Gateway API.

use std::fmt::Write;

use towergate_k8s::decode::{Severity, decode};
use towergate_k8s::ingress::{Manifests, MigrateOptions, translate};
use towergate_k8s::resolve::{ResolveOptions, resolve};

/// An Ingress `web/NAME` with a TLS section.
fn ingress(name: &str, host: &str, annotations: &str, paths: &[String]) -> String {
    let mut text = format!(
        "---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}, namespace: web, annotations: {{{annotations}}}}}
spec:
  ingressClassName: nginx
  tls: [{{hosts: [{host}], secretName: {name}-tls}}]
  rules:
  - host: {host}
    http:
      paths:
"
    );
    for path in paths {
        let _ = writeln!(
            text,
            "      - {{path: {path}, pathType: Prefix, backend: {{service: {{name: {name}, port: {{number: 80}}}}}}}}"
        );
    }
    text
}

/// Schema violations in the objects into which `text` is translated.
fn violations(text: &str) -> Vec<String> {
    let mut manifests = Manifests::default();
    manifests.add("in.yaml", text);
    let migration = translate(&manifests, &MigrateOptions::default());
    let files: Vec<String> = migration.objects.files().into_values().collect();
    let decoded = decode("out.yaml", &files.join("---\n"));
    let errors = decoded.diagnostics.iter();
    let errors = errors.filter(|one| one.severity == Severity::Error);
    errors.map(|one| one.message.clone()).collect()
}

fn root() -> Vec<String> {
    vec!["/".to_owned()]
}

#[test]
fn more_secrets_of_a_namespace_than_a_reference_grant_names_have_several() {
    let text: String = (0..40)
        .map(|i| ingress(&format!("a{i}"), &format!("a{i}.test"), "", &root()))
        .collect();

    assert_eq!(violations(&text), [] as [String; 0]);
}

#[test]
fn more_names_than_a_route_has_hostnames_become_several_routes() {
    let names: Vec<String> = (0..40).map(|i| format!("b{i}.test")).collect();
    let alias = format!(
        "nginx.ingress.kubernetes.io/server-alias: '{}'",
        names.join(",")
    );

    let text = ingress("a", "a.test", &alias, &root());

    assert_eq!(violations(&text), [] as [String; 0]);
}

#[test]
fn more_paths_than_a_route_has_matches_become_several_routes() {
    let text: String = (0..3)
        .map(|i| {
            let paths: Vec<String> = (0..150).map(|path| format!("/{i}/{path}")).collect();
            ingress(&format!("a{i}"), "a.test", "", &paths)
        })
        .collect();

    assert_eq!(violations(&text), [] as [String; 0]);
}

#[test]
fn more_certificates_than_a_listener_has_become_listeners_of_their_hosts() {
    for number in [62, 63, 64, 200] {
        let text: String = (0..number)
            .map(|i| ingress(&format!("a{i}"), &format!("a{i}.test"), "", &root()))
            .collect();

        assert_eq!(violations(&text), [] as [String; 0], "{number}");
    }
}

/// Messages of the conditions of routes and ListenerSets that are not accepted.
fn not_accepted(text: &str) -> Vec<String> {
    let mut manifests = Manifests::default();
    manifests.add("in.yaml", text);
    let migration = translate(&manifests, &MigrateOptions::default());
    let files: Vec<String> = migration.objects.files().into_values().collect();
    let class = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: eg}\nspec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}\n";
    let decoded = decode("out.yaml", &(files.join("---\n") + class));
    let resolution = resolve(&decoded.objects, &ResolveOptions::default());
    let mut messages = Vec::new();
    for object in resolution.statuses.objects() {
        let status = &object["status"];
        let parents = status["parents"].as_array().into_iter().flatten();
        for holder in parents.chain([status]) {
            let conditions = holder["conditions"].as_array().into_iter().flatten();
            let accepted = conditions.filter(|one| one["type"] == "Accepted");
            messages.extend(
                accepted
                    .filter(|one| one["status"] != "True" && object["kind"] != "Gateway")
                    .map(|one| format!("{}: {}", object["metadata"]["name"], one["message"])),
            );
        }
    }
    messages
}

#[test]
fn routes_of_hosts_with_their_own_listener_are_attached_to_it() {
    let www = "nginx.ingress.kubernetes.io/from-to-www-redirect: 'true'";
    let text: String = (0..100)
        .map(|i| ingress(&format!("a{i}"), &format!("a{i}.test"), www, &root()))
        .collect();

    let messages = not_accepted(&text);

    let missing = messages.iter().filter(|one| !one.contains("hosts-"));
    assert_eq!(missing.collect::<Vec<_>>(), [] as [&String; 0]);
}

#[test]
fn more_listeners_than_a_gateway_has_are_those_of_listener_sets() {
    let mtls = "nginx.ingress.kubernetes.io/auth-tls-secret: web/ca";
    let text: String = (0..100)
        .map(|i| ingress(&format!("a{i}"), &format!("a{i}.test"), mtls, &root()))
        .collect();

    assert_eq!(violations(&text), [] as [String; 0]);
}
