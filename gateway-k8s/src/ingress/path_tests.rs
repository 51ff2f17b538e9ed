//! Tests of paths and redirects: the order of regular expressions, and hosts without a rule for a path.

use serde_json::Value;

use super::model::IngressNginx;
use super::verdict_tests::{DECIDE, ingress, migrate, verdict};
use super::{Manifests, Migration};

/// An Ingress with another host. An empty host: none.
fn with_host(text: &str, host: &str) -> String {
    match host {
        "" => text.replace("host: a.test, ", ""),
        host => text.replace("host: a.test", &format!("host: {host:?}")),
    }
}

/// The matches of paths of the routes, with the hostnames of each route.
fn routes(migration: &Migration) -> Vec<(String, Value)> {
    let objects = migration.objects.iter();
    let routes = objects.filter(|object| object.kind == "HTTPRoute");
    routes
        .map(|route| (route.key.name.clone(), route.value["spec"].clone()))
        .collect()
}

#[test]
fn an_expression_that_nginx_compares_first_is_the_longest() {
    let text =
        ingress("guarded", &[("use-regex", "true")], "/ad.*") + &ingress("open", &[], "/adm");

    let migration = migrate(&text);

    let text = format!("{:?}", routes(&migration));
    assert!(
        text.contains("(?i)/ad.*(?:)") && text.contains("(?i)/adm.*\""),
        "{text}"
    );
}

#[test]
fn a_host_that_redirects_has_its_own_route_beside_one_for_all_hosts() {
    let redirect = [("force-ssl-redirect", "true")];
    let all = with_host(&ingress("all", &redirect, "/"), "");
    let text =
        ingress("web", &redirect, "/") + &all + &with_host(&ingress("wild", &[], "/"), "*.test");

    let migration = migrate(&text);

    let hostnames: Vec<Value> = routes(&migration)
        .into_iter()
        .filter(|(name, _)| name.starts_with("https-redirect"))
        .map(|(_, spec)| spec["hostnames"].clone())
        .collect();
    assert_eq!(hostnames, [serde_json::json!(["a.test"]), Value::Null]);
}

#[test]
fn a_path_that_redirects_to_https_takes_precedence_over_an_open_prefix_of_it() {
    let text = ingress("web", &[("force-ssl-redirect", "true")], "/")
        + &ingress("open", &[("ssl-redirect", "false")], "/a")
        + &ingress("guarded", &[("force-ssl-redirect", "true")], "/a/b");

    let migration = migrate(&text);

    let redirects: Vec<Value> = routes(&migration)
        .into_iter()
        .filter(|(name, _)| name.starts_with("https-redirect"))
        .map(|(_, spec)| spec)
        .collect();
    assert!(
        redirects[0].to_string().contains(r#""value":"/a/b""#),
        "{redirects:?}"
    );
}

#[test]
fn a_host_without_a_usable_path_returns_404_before_a_wildcard_host() {
    let text = ingress("web", &[], "a") + &with_host(&ingress("wild", &[], "/"), "*.test");

    let migration = migrate(&text);

    let routes = routes(&migration);
    let own = routes
        .iter()
        .find(|(_, spec)| spec["hostnames"][0] == "a.test");
    let own = own.map(|(_, spec)| spec.to_string()).unwrap_or_default();
    assert!(own.contains("status-404"), "{routes:?}");
}

#[test]
fn a_path_is_compared_as_written_with_the_decoded_path() {
    let file = |path| migrate(&ingress("web", &[], path)).objects.files()["shop.yaml"].clone();

    assert!(file("/a%20b").contains("/a%2520b"));
    assert!(file("/a:b").contains("/a:b"));
}

#[test]
fn a_wildcard_host_has_no_other_name() {
    let text = with_host(
        &ingress("web", &[("from-to-www-redirect", "true")], "/"),
        "*.test",
    );
    let mut manifests = Manifests::default();
    manifests.add("in.yaml", &text);

    let migration = migrate(&text);

    assert_eq!(verdict(&migration, "from-to-www-redirect").0, DECIDE);
    assert!(
        IngressNginx::new(&manifests, &[])
            .servers()
            .iter()
            .all(|one| one.redirect_from.is_none())
    );
    assert!(
        routes(&migration)
            .iter()
            .all(|(name, _)| !name.starts_with("redirect-"))
    );
}

#[test]
fn a_path_with_a_backslash_needs_a_decision() {
    let migration = migrate(&ingress("web", &[], r"/\d"));

    let mut verdicts = migration.verdicts.iter();
    assert!(verdicts.any(|one| one.outcome == DECIDE && one.text.contains("backslashes")));
}

#[test]
fn a_missing_final_slash_is_added_before_a_permanent_redirect() {
    let redirect = [("permanent-redirect", "https://new.test/")];

    let migration = migrate(&ingress("web", &redirect, "/a/"));

    let text = format!("{:?}", routes(&migration));
    assert!(text.contains("replaceFullPath"), "{text}");
}
