//! Tests of `default-backend`: objects, verdicts and the model.

use super::model::{IngressNginx, ModelAnswer, ModelRequest};
use super::verdict_tests::{DECIDE, DIFFERS, SAME, ingress, migrate, verdict};
use super::{Manifests, MigrateOptions, translate};

/// Service `shop/NAME`, with or without a ready endpoint.
fn service(name: &str, is_ready: bool) -> String {
    let endpoints = match is_ready {
        true => "[{addresses: [10.0.0.1], conditions: {ready: true}}]",
        false => "[]",
    };
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{ports: [{{port: 8000}}]}}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}-1, namespace: shop, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nendpoints: {endpoints}\nports: [{{port: 8000}}]\n"
    )
}

#[test]
fn a_default_backend_is_a_backend_of_last_resort_that_learns_which_service_is_missing() {
    let text = ingress("web", &[("default-backend", "pages")], "/");

    let migration = migrate(&(text + &service("web", false) + &service("pages", true)));

    assert_eq!(verdict(&migration, "default-backend").0, SAME);
    let file = &migration.objects.files()["shop.yaml"];
    for part in [
        "fallback: true",
        "hostname: pages.shop.svc.cluster.local\n      port: 8000",
        "name: X-Service-Name\n            value: web",
    ] {
        assert!(file.contains(part), "{file}");
    }
}

#[test]
fn a_default_backend_that_ingress_nginx_ignores_is_not_translated() {
    let pages = [("default-backend", "pages")];
    let upstream = [("default-backend", "pages"), ("service-upstream", "true")];
    for (text, outcome, is_written) in [
        (
            ingress("web", &pages, "/") + &service("web", true),
            SAME,
            false,
        ),
        (
            ingress("web", &upstream, "/") + &service("pages", true),
            SAME,
            false,
        ),
        (ingress("web", &pages, "/"), DECIDE, true),
    ] {
        let migration = migrate(&text);

        assert_eq!(verdict(&migration, "default-backend").0, outcome, "{text}");
        let file = &migration.objects.files()["shop.yaml"];
        assert_eq!(file.contains("fallback: true"), is_written, "{file}");
    }
}

#[test]
fn a_default_backend_beside_a_canary_by_weight_has_a_difference() {
    let canary = ingress("next", &[("canary", "true"), ("canary-weight", "5")], "/");
    let text = ingress("web", &[("default-backend", "pages")], "/") + &canary;

    let migration = migrate(&(text + &service("pages", true)));

    assert_eq!(verdict(&migration, "default-backend").0, DIFFERS);
}

#[test]
fn the_model_sends_requests_of_a_service_without_endpoints_to_the_default_backend() {
    let mut manifests = Manifests::default();
    let text = ingress("web", &[("default-backend", "pages")], "/")
        + &service("web", false)
        + &service("pages", true);
    manifests.add("in.yaml", &text);
    let nginx = IngressNginx::new(&manifests, &[]);
    let request = ModelRequest {
        https: false,
        http10: false,
        method: "GET".to_owned(),
        target: "/x".to_owned(),
        headers: vec![("host".to_owned(), "a.test".to_owned())],
        client: std::net::Ipv4Addr::LOCALHOST.into(),
        body_len: 0,
        certificate: None,
        auth_status: None,
    };

    let ModelAnswer::Proxy { backends, .. } = nginx.answer(&request) else {
        panic!("{:?}", nginx.answer(&request))
    };

    assert_eq!(backends[0].service.to_string(), "shop/pages");
}

#[test]
fn disabled_services_of_type_external_name_are_not_reached() {
    let external = |name: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{type: ExternalName, externalName: {name}.test}}\n"
        )
    };
    let options = MigrateOptions {
        flags: vec!["disable-svc-external-name=true".to_owned()],
        ..MigrateOptions::default()
    };
    for protocol in ["HTTP", "HTTPS", "GRPC"] {
        let settings = [("backend-protocol", protocol), ("default-backend", "pages")];
        let text = ingress("web", &settings, "/") + &external("web") + &external("pages");
        let mut manifests = Manifests::default();
        manifests.add("in.yaml", &text);

        let migration = translate(&manifests, &options);

        assert_eq!(verdict(&migration, "spec.rules").0, DIFFERS, "{protocol}");
        let file = &migration.objects.files()["shop.yaml"];
        assert!(
            !file.contains("web.test") && !file.contains("pages.test"),
            "{file}"
        );
    }
}
