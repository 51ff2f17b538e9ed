//! Ingresses that are served without migration (`--ingress-class`), with the `towergate` program.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::backend::Backend;
use common::{Folder, Towergate, curl, eventually};

/// An Ingress of `class` for `NAME.test`, with one annotation of ingress-nginx.
fn ingress(name: &str, class: &str, annotation: &str) -> String {
    format!(
        "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {name}
  namespace: shop
  annotations: {{{annotation}}}
spec:
  ingressClassName: {class}
  rules:
  - host: {name}.test
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}
"
    )
}

fn folder(backend: &Backend) -> Folder {
    let folder = Folder::new();
    folder.write(
        "service.yaml",
        &format!(
            "\
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {{name: nginx}}
spec: {{controller: k8s.io/ingress-nginx}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop}}
spec: {{ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{port: {}}}]
endpoints: [{{addresses: [{}]}}]
",
            backend.address.port(),
            backend.address.ip(),
        ),
    );
    folder
}

fn start(folder: &Folder) -> Towergate {
    Towergate::start(folder, &["--ingress-class", "nginx"])
}

fn status(gateway: &Towergate, host: &str) -> String {
    let header = format!("Host: {host}");
    let (response, _) = curl(&["-H", &header, &format!("http://{}/", gateway.http)]);
    let code = response.split_whitespace().nth(1);
    code.unwrap_or_default().to_owned()
}

fn impossible(gateway: &Towergate) -> Option<String> {
    let (metrics, _) = curl(&[&format!("http://{}/stats/prometheus", gateway.admin)]);
    let name = "towergate_ingress_settings{outcome=\"impossible\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map(str::to_owned)
}

#[test]
fn a_served_ingress_is_not_reported_as_passed_over() {
    let backend = Backend::start();
    let folder = folder(&backend);
    folder.write("a.yaml", &ingress("a", "nginx", ""));

    let gateway = start(&folder);

    assert_eq!(status(&gateway, "a.test"), "200");
    let output = gateway.output();
    assert!(!output.contains("not served"), "{output}");
    assert!(!output.contains("passed over"), "{output}");
    assert!(!output.contains("no-ingress-of-class"), "{output}");
    assert_eq!(impossible(&gateway).as_deref(), Some("0"));
}

#[test]
fn an_impossible_setting_is_logged_once_and_counted_until_it_is_removed() {
    let backend = Backend::start();
    let folder = folder(&backend);
    let guard = "nginx.ingress.kubernetes.io/auth-url: 'http://auth.test/$request_uri'";
    folder.write("a.yaml", &ingress("a", "nginx", guard));
    let gateway = start(&folder);

    assert_eq!(status(&gateway, "a.test"), "500");
    assert_eq!(impossible(&gateway).as_deref(), Some("1"));
    let logged = |gateway: &Towergate| gateway.output().matches("not-translated").count();
    assert_eq!(logged(&gateway), 1, "{}", gateway.output());
    assert!(
        gateway.output().contains("Ingress shop/a"),
        "{}",
        gateway.output()
    );

    folder.write("b.yaml", &ingress("b", "nginx", ""));
    eventually("the new Ingress is served", || {
        (status(&gateway, "b.test") == "200").then_some(())
    });
    assert_eq!(logged(&gateway), 1, "{}", gateway.output());

    folder.write("a.yaml", &ingress("a", "nginx", ""));
    eventually(
        "the Ingress is served without its access restriction",
        || (status(&gateway, "a.test") == "200").then_some(()),
    );
    assert_eq!(impossible(&gateway).as_deref(), Some("0"));
}

#[test]
fn a_class_that_no_ingress_has_is_a_warning_that_names_the_classes_in_use() {
    let backend = Backend::start();
    let folder = folder(&backend);
    folder.write("a.yaml", &ingress("a", "public", ""));

    let gateway = start(&folder);

    let output = gateway.output();
    assert!(output.contains("no-ingress-of-class"), "{output}");
    assert!(output.contains("classes in use: public"), "{output}");
}
