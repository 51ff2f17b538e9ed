//! Tests of hosts: their names, certificates, client certificates, and the verification of their backends.

use std::collections::BTreeSet;

use serde_json::Value;

use super::model::{IngressNginx, ModelAnswer, ModelRequest};
use super::proof::STRANGER;
use super::verdict_tests::{DECIDE, NEVER, config, ingress, migrate, verdict};
use super::{Manifests, Migration};

/// An Ingress of another host.
fn host(name: &str, annotations: &[(&str, &str)], host: &str) -> String {
    let host = match host {
        "" => String::new(),
        host => format!("host: '{host}', "),
    };
    ingress(name, annotations, "/").replace("host: a.test, ", &host)
}

fn tls(text: &str, section: &str) -> String {
    format!("{text}  tls: [{section}]\n")
}

/// A Secret of namespace `shop`.
fn secret(name: &str, values: &[(&str, &str)]) -> String {
    let values: Vec<String> = values
        .iter()
        .map(|(key, value)| format!("  {key}: '{value}'\n"))
        .collect();
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: shop}}\nstringData:\n{}",
        values.concat()
    )
}

fn request(https: bool, host: &str, target: &str) -> ModelRequest {
    ModelRequest {
        https,
        method: "GET".to_owned(),
        target: target.to_owned(),
        headers: vec![("Host".to_owned(), host.to_owned())],
        client: STRANGER,
        body_len: 0,
        http10: false,
        certificate: None,
        auth_status: None,
    }
}

/// The answer of the model: the status, or the name of the backend.
fn answer(text: &str, https: bool, host: &str) -> String {
    let mut manifests = Manifests::default();
    manifests.add("in.yaml", text);
    let nginx = IngressNginx::new(&manifests, &[]);
    match nginx.answer(&request(https, host, "/")) {
        ModelAnswer::Reply { status, .. } => status.to_string(),
        ModelAnswer::Proxy { backends, .. } => backends[0].service.name.clone(),
    }
}

fn objects<'m>(migration: &'m Migration, kind: &str) -> Vec<&'m Value> {
    let objects = migration.objects.iter();
    let objects = objects.filter(|object| object.kind == kind);
    objects.map(|object| &object.value).collect()
}

/// Names of the listeners with client certificates, with their host.
fn verifying(migration: &Migration) -> BTreeSet<(String, String)> {
    let policies = objects(migration, "ClientTrafficPolicy");
    let verifying = policies
        .iter()
        .filter(|policy| policy["spec"]["tls"]["clientValidation"].is_object());
    let sections: Vec<&Value> = verifying
        .map(|policy| &policy["spec"]["targetRefs"][0]["sectionName"])
        .collect();
    let listeners = objects(migration, "Gateway")[0]["spec"]["listeners"].as_array();
    let listeners = listeners.into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    listeners
        .filter(|listener| sections.contains(&&listener["name"]))
        .map(|listener| (text(&listener["name"]), text(&listener["hostname"])))
        .collect()
}

/// Listeners of the routes to the backend `name`.
fn listeners_of(migration: &Migration, name: &str) -> BTreeSet<String> {
    let routes = objects(migration, "HTTPRoute").into_iter();
    let routes = routes.filter(|route| {
        let rules = route["spec"]["rules"].as_array();
        let mut rules = rules.into_iter().flatten();
        rules.any(|rule| rule["backendRefs"][0]["name"] == name)
    });
    let parents = routes.flat_map(|route| route["spec"]["parentRefs"].as_array().cloned());
    let names = parents
        .flatten()
        .map(|parent| parent["sectionName"].clone());
    names
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

const CA: [(&str, &str); 1] = [("auth-tls-secret", "shop/ca")];

#[test]
fn a_rule_without_a_host_requests_client_certificates_on_the_shared_listener_only() {
    let text = host("all", &CA, "") + &host("open", &[], "b.test");

    let migration = migrate(&text);

    let shared = ("https".to_owned(), String::new());
    assert_eq!(verifying(&migration), [shared].into());
    assert_eq!(listeners_of(&migration, "all"), names(["http", "https"]));
    assert_eq!(
        listeners_of(&migration, "open"),
        names(["http", "https-b-test"])
    );
}

#[test]
fn client_certificates_of_a_wildcard_are_not_requested_for_other_hosts_below_it() {
    let text = host("wild", &CA, "*.test") + &host("open", &[], "a.test");

    let migration = migrate(&text);

    let wildcard = ("https-wildcard-test".to_owned(), "*.test".to_owned());
    assert_eq!(verifying(&migration), [wildcard].into());
    assert_eq!(
        listeners_of(&migration, "open"),
        names(["http", "https-a-test"])
    );
}

#[test]
fn every_name_of_a_host_requests_client_certificates() {
    let aliases = [CA[0], ("server-alias", "b.test,*.c.test")];

    let migration = migrate(&host("web", &aliases, "a.test"));

    let hosts: BTreeSet<String> = verifying(&migration)
        .into_iter()
        .map(|(_, host)| host)
        .collect();
    assert_eq!(hosts, names(["*.c.test", "a.test", "b.test"]));
    assert_eq!(
        listeners_of(&migration, "web"),
        names([
            "http",
            "https-a-test",
            "https-b-test",
            "https-wildcard-c-test"
        ])
    );
}

#[test]
fn client_certificates_of_a_canary_are_requested_for_its_host() {
    let canary = [("canary", "true"), ("canary-weight", "10"), CA[0]];
    let text = ingress("web", &[], "/") + &ingress("next", &canary, "/");

    assert_eq!(answer(&text, true, "a.test"), "400");
    assert_eq!(verifying(&migrate(&text)).len(), 1);
}

#[test]
fn a_subject_rejects_all_clients_if_no_certificate_is_requested() {
    let subject = [
        CA[0],
        ("auth-tls-verify-client", "off"),
        ("auth-tls-match-cn", "CN=zz"),
    ];
    let text = tls(&ingress("web", &subject, "/"), "{hosts: [a.test]}");

    let migration = migrate(&text);

    assert_eq!(answer(&text, true, "a.test"), "403");
    assert_eq!(answer(&text, false, "a.test"), "403");
    assert!(verifying(&migration).is_empty());
    let policy = objects(&migration, "SecurityPolicy")[0].to_string();
    assert!(policy.contains("!(connection.mtls && "), "{policy}");
    assert_eq!(listeners_of(&migration, "web"), names(["http", "https"]));
}

#[test]
fn unusable_ca_certificates_reject_every_request_to_the_host() {
    let other = secret("other", &[("tls.crt", "x")]);
    for (value, more) in [
        ("ca", ""),
        ("blog/ca", ""),
        ("shop/other", &*other),
        ("shop/absent", &*other),
    ] {
        let off = [
            ("auth-tls-secret", value),
            ("auth-tls-verify-client", "off"),
        ];
        let text = ingress("web", &off, "/") + &ingress("next", &[], "/next") + more;

        let migration = migrate(&text);

        assert_eq!(answer(&text, false, "a.test"), "403", "{value}");
        assert!(listeners_of(&migration, "web").is_empty(), "{value}");
        assert!(listeners_of(&migration, "next").is_empty(), "{value}");
        assert_eq!(verdict(&migration, "auth-tls-secret").0, DECIDE, "{value}");
    }
    let allowed = config(&[("allow-cross-namespace-resources", "true")]);
    let text = ingress("web", &[("auth-tls-secret", "blog/ca")], "/") + &allowed;
    assert_eq!(answer(&text, true, "a.test"), "400");
}

#[test]
fn a_subject_is_compared_as_written_and_must_begin_with_cn() {
    let subject = |pattern| {
        let text = ingress("web", &[CA[0], ("auth-tls-match-cn", pattern)], "/");
        let policies = migrate(&text);
        let policy = objects(&policies, "SecurityPolicy");
        policy
            .first()
            .map(|policy| policy["spec"]["authorization"]["rules"][0]["cel"].clone())
    };

    let escaped = subject(r"CN=admin\.test").unwrap_or_default();

    assert_eq!(
        escaped,
        r"!(connection.mtls && connection.subject_peer_certificate.matches('CN=admin\\.test'))"
    );
    assert_eq!(subject("admin"), None);
    let dropped = migrate(&ingress(
        "web",
        &[CA[0], ("auth-tls-match-cn", "admin")],
        "/",
    ));
    assert!(listeners_of(&dropped, "web").is_empty());
}

#[test]
fn a_tls_section_without_the_host_redirects_to_https() {
    let web = || ingress("web", &[], "/");
    for section in [
        "{secretName: cert}",
        "{hosts: [www.a.test], secretName: cert}",
    ] {
        let text = tls(&web(), section);

        let migration = migrate(&text);

        assert_eq!(answer(&text, false, "a.test"), "308", "{section}");
        assert_eq!(
            listeners_of(&migration, "web"),
            names(["https"]),
            "{section}"
        );
        let gateway = objects(&migration, "Gateway")[0].to_string();
        assert!(gateway.contains(r#""name":"cert""#), "{gateway}");
    }
    let other = tls(
        &host("other", &[], "b.test"),
        "{hosts: [a.test], secretName: cert}",
    );
    assert_eq!(answer(&(web() + &other), false, "a.test"), "web");
}

#[test]
fn an_alias_of_two_hosts_belongs_to_the_first_one_in_alphabetical_order() {
    let alias = [("server-alias", "c.test")];
    let text = host("second", &alias, "b.test") + &host("first", &alias, "a.test");

    let migration = migrate(&text);

    assert_eq!(answer(&text, false, "c.test"), "first");
    let routes = objects(&migration, "HTTPRoute").into_iter();
    let names: Vec<&Value> = routes.map(|route| &route["spec"]["hostnames"]).collect();
    assert_eq!(names.len(), 2);
    assert!(
        names.contains(&&serde_json::json!(["a.test", "c.test"])),
        "{names:?}"
    );
}

#[test]
fn a_wildcard_alias_takes_precedence_over_wildcard_hosts_below_it() {
    let text =
        host("guarded", &[("server-alias", "*.test")], "z.org") + &host("open", &[], "*.b.test");

    let migration = migrate(&text);

    assert_eq!(answer(&text, false, "x.b.test"), "guarded");
    assert!(listeners_of(&migration, "open").is_empty());
    let (_, message) = verdict(&migration, "spec.rules");
    assert!(
        message.starts_with("host `*.b.test` receives no requests"),
        "{message}"
    );
}

#[test]
fn an_alias_of_a_rule_without_a_host_is_a_further_name_of_it() {
    let text = host("all", &[("server-alias", "al.test")], "") + &host("wild", &[], "*.test");

    let migration = migrate(&text);

    for (name, backend) in [("zz.org", "all"), ("al.test", "all"), ("b.test", "wild")] {
        assert_eq!(answer(&text, false, name), backend);
    }
    let routes = objects(&migration, "HTTPRoute").into_iter();
    let names: BTreeSet<String> = routes
        .map(|route| route["spec"]["hostnames"].to_string())
        .collect();
    let expected = [r#"["*.test"]"#, r#"["al.test"]"#, "null"].map(str::to_owned);
    assert_eq!(names, expected.into());
}

#[test]
fn only_the_oldest_ingress_of_a_host_adds_aliases() {
    let text = ingress("web", &[("server-alias", "b.test")], "/")
        + &ingress("api", &[("server-alias", "c.test")], "/api");

    // Of Ingresses with equal creation times, the last one by name counts as the oldest.
    assert_eq!(answer(&text, false, "b.test"), "web");
    assert_eq!(answer(&text, false, "c.test"), "404");
}

#[test]
fn verification_of_a_backend_applies_to_the_other_ingresses_of_the_host() {
    let verified = [
        ("backend-protocol", "HTTPS"),
        ("proxy-ssl-secret", "shop/ca"),
        ("proxy-ssl-verify", "on"),
    ];
    let https = [verified[0]];
    let text = ingress("web", &verified, "/") + &ingress("api", &https, "/api");
    let alone = config(&[("proxy-ssl-location-only", "true")]);

    let policies = |text: &str| objects(&migrate(text), "BackendTLSPolicy").len();

    assert_eq!(policies(&text), 2);
    assert_eq!(policies(&(text + &alone)), 1);
}

#[test]
fn verified_and_unverified_connections_to_one_service_are_kept_apart() {
    let tls = |secret| {
        [
            ("backend-protocol", "HTTPS"),
            ("proxy-ssl-secret", secret),
            ("proxy-ssl-verify", "on"),
        ]
    };
    let of = |name: &str, annotations: &[(&str, &str)], host_name: &str| {
        host(name, annotations, host_name)
            .replace(&format!("service: {{name: {name}"), "service: {name: app")
    };
    let text = of("one", &tls("shop/ca"), "a.test")
        + &of("two", &tls("shop/other"), "b.test")
        + &of("open", &[("backend-protocol", "HTTPS")], "c.test");

    let migration = migrate(&text);

    let backends: Vec<String> = objects(&migration, "Backend")
        .iter()
        .map(|one| one["spec"]["tls"].to_string())
        .collect();
    assert_eq!(objects(&migration, "BackendTLSPolicy").len(), 1);
    assert_eq!(backends.len(), 2, "{backends:?}");
    assert!(
        backends.iter().any(|one| one.contains("caCertificateRefs")),
        "{backends:?}"
    );
    assert!(
        backends
            .iter()
            .any(|one| one.contains("insecureSkipVerify")),
        "{backends:?}"
    );
}

#[test]
fn users_of_secrets_with_equal_names_are_kept_apart() {
    const HASH: &str = "{SHA}nU4eI71bcnBGqeO0t9tXvY1u5oQ=";
    let auth = |secret, kind| {
        [
            ("auth-type", "basic"),
            ("auth-secret", secret),
            ("auth-secret-type", kind),
        ]
    };
    let own = secret("ba", &[("auth", &format!("alice:{HASH}")), ("carol", HASH)]);
    let other = own
        .replace("namespace: shop", "namespace: other")
        .replace("alice", "bob");
    let existing = secret("ba-htpasswd", &[("mine", "yes")]);
    let text = host("one", &auth("ba", "auth-file"), "a.test")
        + &host("two", &auth("other/ba", "auth-file"), "b.test")
        + &host("map", &auth("ba", "auth-map"), "c.test")
        + &config(&[("allow-cross-namespace-resources", "true")])
        + &own
        + &other
        + &existing;

    let migration = migrate(&text);

    let secrets = objects(&migration, "Secret");
    let names_of: BTreeSet<&str> = secrets
        .iter()
        .filter_map(|secret| secret["metadata"]["name"].as_str())
        .collect();
    assert_eq!(
        names_of,
        BTreeSet::from(["ba-htpasswd-2", "ba-map-htpasswd", "other-ba-htpasswd"])
    );
    let users: BTreeSet<&str> = secrets
        .iter()
        .filter_map(|secret| secret["data"][".htpasswd"].as_str())
        .collect();
    assert_eq!(users.len(), 3);
}

#[test]
fn users_without_a_readable_hash_need_a_decision() {
    let users = secret(
        "ba",
        &[(
            "auth",
            "ada:{SHA}nU4eI71bcnBGqeO0t9tXvY1u5oQ=\n\n    bob:$6$x$y",
        )],
    );
    let auth = [("auth-type", "basic"), ("auth-secret", "ba")];

    let (outcome, text) = verdict(
        &migrate(&(ingress("web", &auth, "/") + &users)),
        "auth-secret",
    );

    assert_eq!(outcome, DECIDE);
    assert!(text.contains("except for `bob`"), "{text}");
}

/// A controller with `tcp-services`.
fn tcp_services(entries: &str) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: ingress-nginx-controller, namespace: ingress-nginx}}\nspec: {{template: {{spec: {{containers: [{{name: controller, image: ingress-nginx/controller, args: [/nginx-ingress-controller, --tcp-services-configmap=ingress-nginx/tcp]}}]}}}}}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: tcp, namespace: ingress-nginx}}\ndata: {{{entries}}}\n"
    )
}

#[test]
fn an_entry_that_ingress_nginx_ignores_has_no_listener() {
    for (entry, expected) in [
        ("'80': shop/app:80", "ingress-nginx uses the port itself"),
        ("'8181': shop/app:80", "ingress-nginx uses the port itself"),
        (
            "'9000': shop/app",
            "the value is not `namespace/service:port`",
        ),
        (
            "'9000': app:80",
            "the value is not `namespace/service:port`",
        ),
        ("'x': shop/app:80", "the key is not a port"),
    ] {
        let text = tcp_services(&format!("{entry}, '5432': 'shop/db:5432'"));

        let migration = migrate(&text);

        let listeners = objects(&migration, "Gateway")[0]["spec"]["listeners"].as_array();
        let names: Vec<&Value> = listeners
            .into_iter()
            .flatten()
            .map(|listener| &listener["name"])
            .collect();
        assert_eq!(names, ["http", "https", "tcp-5432"], "{entry}");
        let mut verdicts = migration.verdicts.iter();
        assert!(
            verdicts.any(|one| one.text.starts_with(expected)),
            "{entry}"
        );
    }
}

#[test]
fn a_proxy_header_that_clients_send_to_an_entry_is_required() {
    let migration = migrate(&tcp_services(
        "'5432': 'shop/db:5432:proxy', '5433': 'shop/db:5432::PROXY'",
    ));

    let policies = objects(&migration, "ClientTrafficPolicy").into_iter();
    let requiring: Vec<&Value> = policies
        .filter(|policy| policy["spec"]["proxyProtocol"]["optional"] == false)
        .map(|policy| &policy["spec"]["targetRefs"][0]["sectionName"])
        .collect();
    assert_eq!(requiring, ["tcp-5432"]);
    assert_eq!(verdict(&migration, "tcp-services 5433").0, NEVER);
}

#[test]
fn a_path_that_is_denied_is_not_redirected_to_https() {
    let denied = [("whitelist-source-range", "bad")];
    let text = tls(&ingress("web", &denied, "/"), "{hosts: [a.test]}");

    let migration = migrate(&text);

    assert_eq!(answer(&text, false, "a.test"), "503");
    let routes = objects(&migration, "HTTPRoute").into_iter();
    let redirects = routes.filter(|route| route.to_string().contains("RequestRedirect"));
    assert_eq!(redirects.count(), 0);
}

#[test]
fn the_root_of_a_rule_without_a_host_is_redirected_by_app_root() {
    let text = ingress("web", &[("app-root", "/x")], "/x").replace("host: a.test, ", "");

    let migration = migrate(&text);

    assert_eq!(answer(&text, false, "zz.test"), "302");
    let filters: Vec<String> = objects(&migration, "HTTPRouteFilter")
        .iter()
        .map(|one| one.to_string())
        .collect();
    assert!(filters.iter().any(|one| one.contains("302")), "{filters:?}");
}

#[test]
fn passthrough_has_precedence_over_client_certificates_and_needs_a_host() {
    let passed = [CA[0], ("ssl-passthrough", "true")];
    let flags = "---\ncontroller:\n  extraArgs: {enable-ssl-passthrough: \"\"}\n  allowSnippetAnnotations: true\n  config: {a: b}\n";
    let listeners = |text: &str| {
        let migration = migrate(&format!("{flags}{text}"));
        let listeners = objects(&migration, "Gateway")[0]["spec"]["listeners"].clone();
        let listeners = listeners.as_array().cloned().unwrap_or_default();
        listeners
            .iter()
            .map(|one| one["name"].clone())
            .collect::<Vec<_>>()
    };

    assert_eq!(
        listeners(&host("web", &passed, "a.test")),
        ["http", "https", "tls-a-test"]
    );
    assert_eq!(listeners(&host("web", &passed[1..], "")), ["http", "https"]);
}

#[test]
fn a_wildcard_host_with_aliases_matches_one_label() {
    let text = host("web", &[("server-alias", "al.test,*.c.test")], "*.test");

    let migration = migrate(&text);

    assert_eq!(answer(&text, false, "x.y.test"), "404");
    let route = objects(&migration, "HTTPRoute")[0].to_string();
    let expected = r"(?i)(?:[^.]+\\.test|al\\.test|.+\\.c\\.test)(:[0-9]+)?";
    assert!(route.contains(expected), "{route}");
}
