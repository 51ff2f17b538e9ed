//! Guards of ingress-nginx that the translation must not lose.

use super::Migration;
use super::verdict_tests::{ingress, migrate};

/// A host with a path for everyone, one whose prefix is removed, and one with the annotations `guard`.
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
