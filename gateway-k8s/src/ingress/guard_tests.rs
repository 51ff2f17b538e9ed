//! Tests of guards: the translation must keep every guard of ingress-nginx.

use std::collections::BTreeSet;

use super::model::{IngressNginx, ModelAnswer, ModelEffects};
use super::proof::{Observed, STRANGER, compare, requests, with_decisions};
use super::proof_report::{Difference, explain};
use super::settings::IngressSettings;
use super::verdict_tests::{config, ingress, migrate};
use super::{Manifests, Migration};

/// A host with an open path, a path whose prefix is removed, and a path with the annotations `guard`.
fn guarded(guard: &[(&str, &str)]) -> String {
    let rewrite = [("rewrite-target", "/$2")];
    let all = ingress("all", &[], "/");
    let shop = ingress("cart", &rewrite, "/shop(/|$)(.*)");
    format!("{all}{shop}{}", ingress("login", guard, "/wp-login"))
}

fn paths(migration: &Migration, kind: &str) -> Vec<String> {
    let routes = migration.objects.iter();
    let routes = routes.filter(|object| object.kind == "HTTPRoute");
    let rules = routes.flat_map(|route| route.value["spec"]["rules"].as_array().cloned());
    let matches = rules
        .flatten()
        .flat_map(|rule| rule["matches"].as_array().cloned());
    let paths = matches.flatten().map(|one| one["path"].clone());
    let paths = paths.filter(|path| path["type"] == kind);
    paths
        .filter_map(|path| path["value"].as_str().map(str::to_owned))
        .collect()
}

#[test]
fn paths_with_different_guards_stay_expressions_so_that_no_spelling_passes_by_a_guard() {
    for guard in [
        ("whitelist-source-range", "10.0.0.0/8"),
        ("denylist-source-range", "10.0.0.0/8"),
        ("auth-url", "http://auth.shop.svc.cluster.local/check"),
        ("limit-rps", "1"),
        ("auth-type", "digest"),
    ] {
        let migration = migrate(&guarded(&[guard]));

        let patterns = paths(&migration, "RegularExpression");
        assert!(
            patterns.iter().any(|one| one.contains("(?i)/wp-login.*")),
            "{guard:?}: {patterns:?}"
        );
    }
}

#[test]
fn paths_with_equal_guards_become_prefixes() {
    let migration = migrate(&guarded(&[]));

    assert!(paths(&migration, "PathPrefix").contains(&"/wp-login".to_owned()));
}

#[test]
fn other_spellings_of_a_guarded_path_are_proved_from_outside_of_its_source_range() {
    let mut manifests = Manifests::default();
    let text = guarded(&[("whitelist-source-range", "10.0.0.0/8")]);
    manifests.add("in.yaml", &text);

    let requests = requests(&IngressNginx::new(&manifests, &[]));

    for target in ["/WP-LOGIN", "/wp-loginx"] {
        let mut from_outside = requests.iter().filter(|one| one.client == STRANGER);
        assert!(from_outside.any(|one| one.target == target), "{target}");
    }
}

#[test]
fn a_request_that_passes_by_a_guard_is_explained_by_no_verdict() {
    let mut manifests = Manifests::default();
    manifests.add("in.yaml", &guarded(&[("satisfy", "any")]));
    let nginx = IngressNginx::new(&manifests, &[]);
    let request = requests(&nginx).swap_remove(0);
    let mut verdicts = migrate(&guarded(&[])).verdicts;
    let rejected = ModelAnswer::Reply {
        status: 403,
        location: None,
    };
    let found = Observed {
        status: 200,
        backend: Some("shop/all".to_owned()),
        ..Observed::default()
    };
    let mut difference = Difference::default();

    explain(
        &nginx,
        &mut verdicts,
        &request,
        (&rejected, &ModelEffects::default(), &found),
        &mut difference,
    );

    assert!(difference.explained_by.is_empty());
}

#[test]
fn a_request_that_no_authentication_server_decides_is_explained_by_no_verdict() {
    let mut manifests = Manifests::default();
    let text = guarded(&[("auth-url", "http://auth.test/check")]);
    manifests.add("in.yaml", &text);
    let nginx = IngressNginx::new(&manifests, &[]);
    let requests = with_decisions(&nginx, requests(&nginx));
    let decided = requests.iter().filter(|one| one.auth_status.is_some());
    let mut statuses = BTreeSet::new();

    for request in decided {
        let expected = nginx.answer(request);
        let effects = nginx.effects(request, &expected);
        let found = Observed {
            status: 200,
            backend: Some("shop/login".to_owned()),
            target: Some(request.target.clone()),
            ..Observed::default()
        };
        let mut difference = compare(request, &expected, &effects, &found).expect("it differs");
        let mut verdicts = migrate(&text).verdicts;
        let sides = (&expected, &effects, &found);
        explain(&nginx, &mut verdicts, request, sides, &mut difference);

        assert!(difference.explained_by.is_empty(), "{difference:?}");
        statuses.extend(request.auth_status);
    }

    assert_eq!(statuses, BTreeSet::from([200, 401, 403, 503]));
}

/// The settings of an Ingress without annotations, with a ConfigMap of these keys.
fn under(keys: &[(&str, &str)]) -> IngressSettings {
    let mut manifests = Manifests::default();
    let text = format!("{}{}", config(keys), ingress("web", &[], "/"));
    manifests.add("in.yaml", &text);
    let nginx = IngressNginx::new(&manifests, &[]);
    let locations = nginx.servers().iter().flat_map(|server| &server.locations);
    let mut found = locations.filter_map(|location| nginx.settings(location).cloned());
    found.next_back().unwrap_or_default()
}

#[test]
fn blocked_networks_of_the_config_map_are_denied_unless_the_ingress_has_a_list() {
    let blocked = [("block-cidrs", "192.0.2.0/24, 198.51.100.7")];
    let listed = [blocked[0], ("denylist-source-range", "10.0.0.0/8")];

    assert_eq!(under(&blocked).deny, ["192.0.2.0/24", "198.51.100.7/32"]);
    assert_eq!(under(&listed).deny, ["10.0.0.0/8"]);
    assert_eq!(
        under(&[("block-cidrs", "everyone")]).denied.as_deref(),
        Some("ConfigMap block-cidrs")
    );
}

#[test]
fn source_ranges_and_header_fields_of_global_snippets_become_settings() {
    let settings = under(&[
        ("location-snippet", "deny 192.0.2.1;"),
        ("server-snippet", "add_header X-Srv 1;"),
    ]);

    let denied: Vec<_> = settings
        .access_rules
        .iter()
        .map(|rule| &rule.network)
        .collect();
    assert_eq!(denied, ["192.0.2.1/32"]);
    let field = ("X-Srv".to_owned(), "1".to_owned());
    assert_eq!(settings.response_headers, [field]);
    assert_eq!(settings.denied, None);
}

#[test]
fn a_guard_of_a_global_snippet_without_an_equivalent_closes_all_paths() {
    for (key, text) in [
        ("server-snippet", "if ($bad_client) { return 403; }"),
        ("location-snippet", "access_by_lua_file /etc/guard.lua;"),
        ("http-snippet", "include /etc/nginx/blocked.conf;"),
        ("http-snippet", "auth_basic private;"),
        ("location-snippet", "deny 192.0.2.1"),
    ] {
        assert_eq!(
            under(&[(key, text)]).denied.as_deref(),
            Some(&*format!("ConfigMap {key}")),
            "{text}"
        );
    }
    let other = "map $host $x { default 0; } server { listen 8080; return 403; }";
    assert_eq!(under(&[("http-snippet", other)]).denied, None);
}

#[test]
fn values_of_the_chart_permit_snippets_and_enable_passthrough_as_the_chart_does() {
    let values = "---\ncontroller:\n  allowSnippetAnnotations: true\n  config: {annotations-risk-level: Critical}\n  extraArgs: {enable-ssl-passthrough: \"\"}\n";
    let snippet = [
        ("configuration-snippet", "more_set_headers \"X-A: b\";"),
        ("ssl-passthrough", "true"),
    ];
    let mut manifests = Manifests::default();
    manifests.add(
        "in.yaml",
        &format!("{values}{}", ingress("web", &snippet, "/")),
    );

    let nginx = IngressNginx::new(&manifests, &[]);

    let server = nginx.servers().iter().find(|one| one.host == "a.test");
    assert!(server.is_some_and(|one| one.passthrough.is_some()));
    let settings = server.and_then(|one| nginx.settings(&one.locations[0]));
    assert!(settings.is_some_and(|one| one.response_headers.len() == 1));
}
