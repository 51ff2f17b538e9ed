//! Tests that verdicts agree with the written objects and with each other.

use std::fmt::Write;

use super::{Manifests, MigrateOptions, Migration, MigrationOutcome, translate};

/// An Ingress `shop/NAME` of `a.test` with annotations, for `path`.
pub(super) fn ingress(name: &str, annotations: &[(&str, &str)], path: &str) -> String {
    let mut text = format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\n  namespace: shop\n  annotations:\n    a: b\n"
    );
    for (key, value) in annotations {
        let _ = writeln!(text, "    nginx.ingress.kubernetes.io/{key}: '{value}'");
    }
    let _ = write!(
        text,
        "spec:\n  ingressClassName: nginx\n  rules: [{{host: a.test, http: {{paths: [{{path: '{path}', pathType: ImplementationSpecific, backend: {{service: {{name: {name}, port: {{number: 80}}}}}}}}]}}}}]\n"
    );
    text
}

pub(super) fn config(keys: &[(&str, &str)]) -> String {
    let mut text = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: ingress-nginx-controller, namespace: ingress-nginx}\ndata:\n  a: b\n".to_owned();
    for (key, value) in keys {
        let _ = writeln!(text, "  {key}: '{value}'");
    }
    text
}

pub(super) fn migrate(text: &str) -> Migration {
    let mut manifests = Manifests::default();
    manifests.add("in.yaml", text);
    translate(&manifests, &MigrateOptions::default())
}

/// Outcome and text of the verdict on a setting.
pub(super) fn verdict(migration: &Migration, setting: &str) -> (MigrationOutcome, String) {
    let mut verdicts = migration.verdicts.iter();
    let found = verdicts.find(|one| {
        one.setting == setting || one.setting == format!("nginx.ingress.kubernetes.io/{setting}")
    });
    let found = found.unwrap_or_else(|| panic!("no verdict on {setting}"));
    (found.outcome, found.text.clone())
}

pub(super) const SAME: MigrationOutcome = MigrationOutcome::Same;
pub(super) const DIFFERS: MigrationOutcome = MigrationOutcome::SameWithADifference;
pub(super) const DECIDE: MigrationOutcome = MigrationOutcome::NeedsADecision;
pub(super) const NEVER: MigrationOutcome = MigrationOutcome::Impossible;

#[test]
fn a_key_is_judged_by_its_value_and_by_the_keys_beside_it() {
    for (keys, key, outcome, part) in [
        (&[("use-gzip", "false")][..], "use-gzip", SAME, "off"),
        (
            &[("enable-modsecurity", "false")],
            "enable-modsecurity",
            SAME,
            "off",
        ),
        (
            &[("enable-modsecurity", "true")],
            "enable-modsecurity",
            NEVER,
            "firewall",
        ),
        (
            &[("gzip-level", "5")],
            "gzip-level",
            SAME,
            "without `use-gzip`",
        ),
        (&[("hsts", "false")], "hsts", SAME, "no listener sends"),
        (
            &[("hsts", "false"), ("hsts-max-age", "5")],
            "hsts-max-age",
            SAME,
            "without `hsts`",
        ),
        (
            &[("use-forwarded-headers", "true")],
            "use-forwarded-headers",
            DECIDE,
            "numTrustedHops: 1",
        ),
        (
            &[("use-forwarded-headers", "false")],
            "use-forwarded-headers",
            SAME,
            "off",
        ),
        (
            &[
                ("use-forwarded-headers", "true"),
                ("proxy-real-ip-cidr", "10.0.0.0/8"),
            ],
            "use-forwarded-headers",
            DECIDE,
            "the peer is in 10.0.0.0/8",
        ),
        (
            &[
                ("use-forwarded-headers", "true"),
                ("forwarded-for-header", "CF-Connecting-IP"),
            ],
            "use-forwarded-headers",
            DECIDE,
            "`CF-Connecting-IP` of every request",
        ),
        (
            &[
                ("use-forwarded-headers", "true"),
                ("forwarded-for-header", "CF-Connecting-IP"),
                ("proxy-real-ip-cidr", "10.0.0.0/8"),
            ],
            "proxy-real-ip-cidr",
            SAME,
            "towergate.dev/trusted-proxies",
        ),
        (
            &[
                ("use-proxy-protocol", "true"),
                ("proxy-real-ip-cidr", "10.0.0.0/8,x"),
            ],
            "proxy-real-ip-cidr",
            DECIDE,
            "`x` is not a network",
        ),
        (
            &[("proxy-real-ip-cidr", "10.0.0.0/8")],
            "proxy-real-ip-cidr",
            SAME,
            "no effect",
        ),
        (
            &[("ssl-redirect", "false")],
            "ssl-redirect",
            SAME,
            "plain HTTP",
        ),
        (
            &[("limit-req-status-code", "429")],
            "limit-req-status-code",
            SAME,
            "responseOverride",
        ),
        (
            &[("proxy-next-upstream-tries", "0")],
            "proxy-next-upstream-tries",
            DIFFERS,
            "numRetries: 10",
        ),
        (
            &[("add-headers", "a/b")],
            "add-headers",
            DECIDE,
            "not among the files",
        ),
        (
            &[("whitelist-source-range", "office")],
            "whitelist-source-range",
            DECIDE,
            "`office` is not a network",
        ),
        (
            &[("global-auth-signin", "https://a.test")],
            "global-auth-signin",
            SAME,
            "without `global-auth-url`",
        ),
        (
            &[("global-auth-url", "http://a.test/$request_uri")],
            "global-auth-url",
            NEVER,
            "return 500",
        ),
    ] {
        let migration = migrate(&(ingress("web", &[], "/") + &config(keys)));

        let (found, text) = verdict(&migration, key);

        assert_eq!(found, outcome, "{keys:?}: {text}");
        assert!(text.contains(part), "{keys:?}: {text}");
    }
}

#[test]
fn an_annotation_is_judged_by_its_value_and_by_the_annotations_beside_it() {
    for (annotations, name, outcome, part) in [
        (
            &[("enable-modsecurity", "false")][..],
            "enable-modsecurity",
            SAME,
            "off",
        ),
        (
            &[("custom-http-errors", "")],
            "custom-http-errors",
            SAME,
            "empty",
        ),
        (
            &[("limit-connections", "0")],
            "limit-connections",
            SAME,
            "off",
        ),
        (
            &[("session-cookie-path", "/")],
            "session-cookie-path",
            SAME,
            "without `affinity: cookie`",
        ),
        (
            &[("permanent-redirect-code", "308")],
            "permanent-redirect-code",
            SAME,
            "without `permanent-redirect`",
        ),
        (
            &[("auth-realm", "x")],
            "auth-realm",
            SAME,
            "without `auth-type`",
        ),
        (
            &[("auth-type", "digest"), ("auth-secret", "s")],
            "auth-secret",
            SAME,
            "see `auth-type`",
        ),
        (
            &[("configuration-snippet", "a b;"), ("proxy-body-size", "1m")],
            "proxy-body-size",
            SAME,
            "the whole Ingress is ignored: see `configuration-snippet`",
        ),
        (
            &[("affinity", "cookie"), ("upstream-hash-by", "$remote_addr")],
            "upstream-hash-by",
            SAME,
            "beside `affinity: cookie`",
        ),
        (
            &[
                ("satisfy", "any"),
                ("auth-type", "basic"),
                ("auth-secret", "s"),
            ],
            "satisfy",
            SAME,
            "no effect",
        ),
        (
            &[
                ("satisfy", "any"),
                ("auth-type", "basic"),
                ("auth-secret", "s"),
                ("whitelist-source-range", "10.0.0.0/8"),
            ],
            "whitelist-source-range",
            DIFFERS,
            "see `satisfy`",
        ),
        (
            &[
                ("proxy-redirect-from", "http://a/"),
                ("proxy-redirect-to", "/"),
            ],
            "proxy-redirect-from",
            NEVER,
            "not rewritten",
        ),
        (
            &[("ssl-redirect", "true")],
            "ssl-redirect",
            SAME,
            "has none",
        ),
    ] {
        let migration = migrate(&ingress("web", annotations, "/"));

        let (found, text) = verdict(&migration, name);

        assert_eq!(found, outcome, "{annotations:?}: {text}");
        assert!(text.contains(part), "{annotations:?}: {text}");
    }
}

#[test]
fn annotations_of_a_canary_have_no_effect() {
    let main = ingress("web", &[], "/");
    let canary = [
        ("canary", "true"),
        ("canary-weight", "5"),
        ("limit-rps", "5"),
    ];
    let migration = migrate(&(main + &ingress("next", &canary, "/")));

    let (outcome, text) = verdict(&migration, "limit-rps");

    assert_eq!(outcome, SAME);
    assert!(text.contains("no effect on a canary"), "{text}");
}

#[test]
fn a_rewrite_that_removes_a_prefix_is_not_called_a_regular_expression() {
    let annotations = [("use-regex", "true"), ("rewrite-target", "/$2")];
    let migration = migrate(&ingress("web", &annotations, "/app(/|$)(.*)"));

    for name in ["use-regex", "rewrite-target"] {
        let (outcome, text) = verdict(&migration, name);
        assert_eq!(outcome, DIFFERS);
        assert!(text.contains("only remove a prefix"), "{text}");
        assert!(!text.contains("becomes a case-insensitive"), "{text}");
    }
}

#[test]
fn a_grpc_service_of_a_whole_host_is_a_grpc_route() {
    let migration = migrate(&ingress("web", &[("backend-protocol", "GRPC")], "/"));

    let (_, text) = verdict(&migration, "backend-protocol");

    assert!(text.starts_with("a GRPCRoute"), "{text}");
    assert!(!migration.objects.iter().any(|one| one.kind == "Backend"));
}

#[test]
fn a_path_that_an_older_ingress_has_is_reported() {
    let dated = |name: &str, created: &str| {
        let text = ingress(name, &[], "/");
        text.replace(
            "  namespace: shop\n",
            &format!("  namespace: shop\n  creationTimestamp: '{created}'\n"),
        )
    };
    let old = dated("old", "2024-01-01T00:00:00Z");
    let new = dated("new", "2025-01-01T00:00:00Z");

    let (by_age, text) = verdict(&migrate(&(new + &old)), "spec.rules");
    let (by_name, undated) = verdict(
        &migrate(&(ingress("a", &[], "/") + &ingress("b", &[], "/"))),
        "spec.rules",
    );

    assert_eq!(by_age, SAME);
    let expected = "path `/` of host `a.test` belongs to Ingress shop/old (in.yaml:14), which is older (2024-01-01T00:00:00Z before 2025-01-01T00:00:00Z)";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(by_name, DECIDE);
    assert!(undated.contains("belongs to Ingress shop/b"), "{undated}");
}

#[test]
fn a_setting_that_an_older_ingress_has_made_is_reported() {
    let first = ingress(
        "b",
        &[("app-root", "/x"), ("auth-tls-secret", "shop/ca")],
        "/x",
    );
    let second = ingress(
        "a",
        &[("app-root", "/y"), ("auth-tls-secret", "shop/other")],
        "/y",
    );
    let migration = migrate(&(first + &second));

    for name in ["app-root", "auth-tls-secret"] {
        let setting = format!("nginx.ingress.kubernetes.io/{name}");
        let mut verdicts = migration.verdicts.iter();
        let lost = verdicts.find(|one| one.object == "Ingress shop/a" && one.setting == setting);
        let text = lost.map(|one| one.text.as_str()).unwrap_or_default();
        assert!(
            text.contains("the annotation of Ingress shop/b, which counts as older, applies"),
            "{text}"
        );
    }
}

#[test]
fn an_ingress_that_is_defined_twice_is_an_error_with_both_places() {
    let mut manifests = Manifests::default();
    manifests.add("a.yaml", &ingress("web", &[], "/"));
    manifests.add("b.yaml", &ingress("web", &[], "/b"));

    assert_eq!(manifests.ingresses.len(), 1);
    let error = &manifests.errors[0];
    assert_eq!((&*error.place.file, error.place.line), ("b.yaml", 2));
    let expected = "Ingress shop/web is already defined in a.yaml:2";
    assert!(error.message.starts_with(expected), "{}", error.message);
}

#[test]
fn sessions_that_another_ingress_shares_in_ingress_nginx_are_reported() {
    let sticky = ingress("web", &[("affinity", "cookie")], "/");
    let other =
        ingress("admin", &[], "/admin").replace("service: {name: admin", "service: {name: web");

    let (_, text) = verdict(&migrate(&(sticky + &other)), "affinity");

    assert!(text.contains("on the paths of shop/admin"), "{text}");
}

#[test]
fn defaults_that_a_setting_turns_off_are_not_reported() {
    let names = |migration: &Migration| -> Vec<String> {
        let defaults = migration.verdicts.iter().filter(|one| !one.is_setting());
        defaults.map(|one| one.setting.clone()).collect()
    };
    let root = ingress("web", &[("app-root", "/x")], "/");

    let on = names(&migrate(&root));
    let off = names(&migrate(&(root + &config(&[("hsts", "false")]))));

    let hsts = "Strict-Transport-Security".to_owned();
    assert!(on.contains(&hsts) && !off.contains(&hsts));
}

#[test]
fn errors_without_a_page_service_become_500_and_those_with_one_are_impossible() {
    let keys = config(&[("custom-http-errors", "404,502")]);
    let without = migrate(&(ingress("web", &[], "/") + &keys));
    let with = migrate(&(ingress("web", &[("default-backend", "pages")], "/") + &keys));

    let (outcome, _) = verdict(&without, "custom-http-errors");
    assert_eq!(outcome, DIFFERS);
    let file = &without.objects.files()["gateway.yaml"];
    assert!(file.contains("500 Internal Server Error"), "{file}");
    let (outcome, text) = verdict(&with, "custom-http-errors");
    assert_eq!(outcome, NEVER);
    assert!(
        text.contains("{type: Value, value: 404}, {type: Value, value: 502}"),
        "{text}"
    );
    let file = &with.objects.files()["gateway.yaml"];
    assert!(!file.contains("500 Internal Server Error"), "{file}");
}

#[test]
fn a_difference_that_one_request_shows_has_an_example() {
    let migration = migrate(&ingress("web", &[("auth-type", "digest")], "/admin"));

    let mut verdicts = migration.verdicts.iter();
    let verdict = verdicts.find(|one| one.setting.ends_with("auth-type"));
    let example = verdict
        .and_then(|one| one.example.as_ref())
        .expect("an example");

    assert_eq!(example.request(), "GET http://a.test/admin");
    assert_eq!(
        (&*example.ingress_nginx, &*example.towergate),
        ("401", "500")
    );
}

#[test]
fn verification_of_a_backend_is_kept_for_canaries_and_external_names() {
    let verified = [
        ("backend-protocol", "HTTPS"),
        ("proxy-ssl-secret", "shop/ca"),
        ("proxy-ssl-verify", "on"),
    ];
    let external = "---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {type: ExternalName, externalName: web.test}\n";
    let canary = ingress("next", &[("canary", "true"), ("canary-weight", "5")], "/");

    let migration = migrate(&(ingress("web", &verified, "/") + external + &canary));

    let text = &migration.objects.files()["shop.yaml"];
    assert!(!text.contains("insecureSkipVerify"), "{text}");
    assert!(
        text.contains("sni: web.test") && text.contains("kind: BackendTLSPolicy"),
        "{text}"
    );
}

#[test]
fn hosts_that_differ_in_punctuation_keep_their_own_client_certificates() {
    let host = |name: &str, host: &str| {
        let secret = format!("shop/{name}");
        let ca = [("auth-tls-secret", &*secret)];
        ingress(name, &ca, "/").replace("a.test", host)
    };
    let migration = migrate(&(host("one", "a.b.test") + &host("two", "a-b.test")));

    let policies = migration.objects.iter();
    let policies = policies.filter(|object| object.kind == "ClientTrafficPolicy");
    let files = migration.objects.files();
    let text: String = files.into_values().collect();
    assert_eq!(policies.count(), 4, "http, https, and one for each host");
    for listener in ["https-a-b-test", "https-a-b-test-2"] {
        assert!(
            text.contains(&format!("sectionName: {listener}\n")),
            "{text}"
        );
    }
}
