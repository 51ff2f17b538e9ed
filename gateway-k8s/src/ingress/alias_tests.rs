//! Tests of `server-alias` with redirects to HTTPS.

use super::Migration;
use super::verdict_tests::{DECIDE, SAME, ingress, migrate, verdict};

/// A Secret `shop/s` with a certificate for `names`.
fn certificate(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let indent = |text: &str| text.trim().replace('\n', "\n    ");
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: shop}}\nstringData:\n  tls.crt: |\n    {}\n  tls.key: |\n    {}\n",
        indent(&made.cert.pem()),
        indent(&made.signing_key.serialize_pem())
    )
}

/// The `hostnames` of the routes that redirect to HTTPS.
fn redirected_names(migration: &Migration) -> Vec<String> {
    let routes = migration.objects.iter();
    let routes = routes.filter(|one| one.key.name.starts_with("https-redirect"));
    let names = routes.flat_map(|one| one.value["spec"]["hostnames"].as_array().cloned());
    let names = names.flatten();
    names
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

#[test]
fn a_name_is_redirected_to_https_if_the_certificate_of_its_host_is_valid_for_it() {
    let text = ingress("web", &[("server-alias", "b.test,c.test")], "/")
        + "  tls: [{hosts: [a.test], secretName: s}]\n";

    let migration = migrate(&(text + &certificate(&["a.test", "c.test"])));

    assert_eq!(verdict(&migration, "server-alias").0, SAME);
    assert_eq!(redirected_names(&migration), ["a.test", "c.test"]);
    let routes = migration.objects.iter();
    let mut plain = routes.filter(|one| one.value["spec"]["hostnames"][0] == "b.test");
    let parents = &plain.next().expect("a route of b.test").value["spec"]["parentRefs"];
    assert_eq!(parents[0]["sectionName"], "http");
}

#[test]
fn a_name_with_a_certificate_is_redirected_to_https_if_its_host_has_none() {
    let other = ingress("other", &[], "/").replace("a.test", "'*.b.test'")
        + "  tls: [{hosts: ['*.b.test'], secretName: s}]\n";
    let text = ingress("web", &[("server-alias", "x.b.test")], "/");

    let migration = migrate(&(text + &other));

    let names = redirected_names(&migration);
    assert!(names.contains(&"x.b.test".to_owned()), "{names:?}");
    assert!(!names.contains(&"a.test".to_owned()), "{names:?}");
}

#[test]
fn an_alias_without_a_certificate_that_is_redirected_needs_a_decision() {
    let alias = ingress("web", &[("server-alias", "b.test")], "/");
    let tls =
        |hosts: &str| alias.clone() + &format!("  tls: [{{hosts: [{hosts}], secretName: s}}]\n");

    let (bare, text) = verdict(&migrate(&tls("a.test")), "server-alias");
    let (covered, _) = verdict(&migrate(&tls("a.test, b.test")), "server-alias");

    assert_eq!((bare, covered), (DECIDE, SAME));
    assert!(
        text.contains("Plain HTTP of `b.test` is redirected"),
        "{text}"
    );
}
