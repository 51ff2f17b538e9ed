//! Tests of settings that restrict access: the client address, origins, rates and flags.

use super::verdict_tests::{DECIDE, config, ingress, migrate, verdict};

/// The values at `pointer` of all objects that have one.
fn values(text: &str, pointer: &str) -> Vec<String> {
    let migration = migrate(text);
    let objects = migration.objects.iter();
    let found = objects.filter_map(|object| object.value.pointer(pointer));
    found
        .map(|value| match value.as_str() {
            Some(text) => text.to_owned(),
            None => value.to_string(),
        })
        .collect()
}

#[test]
fn only_the_networks_of_proxy_real_ip_cidr_supply_the_address_of_the_client() {
    let header = [
        ("use-forwarded-headers", "true"),
        ("forwarded-for-header", "CF-IP"),
    ];
    let proxy = [("use-proxy-protocol", "true")];
    for source in [&header[..], &proxy] {
        for (networks, expected) in [
            (None, None),
            (Some("0.0.0.0/0"), None),
            (
                Some("10.0.0.0/8,192.0.2.1"),
                Some("10.0.0.0/8,192.0.2.1/32"),
            ),
            (Some("x,10.0.0.0/8"), Some("10.0.0.0/8")),
            (Some("x"), Some("")),
        ] {
            let mut keys = source.to_vec();
            keys.extend(networks.map(|networks| ("proxy-real-ip-cidr", networks)));

            let manifests = ingress("web", &[], "/") + &config(&keys);
            let found = values(
                &manifests,
                "/metadata/annotations/towergate.dev~1trusted-proxies",
            );

            let expected = expected.map_or(Vec::new(), |expected| vec![expected; 2]);
            assert_eq!(found, expected, "{keys:?}");
        }
    }
}

#[test]
fn origins_that_the_spec_cannot_express_become_an_annotation() {
    for (origins, spec, annotation) in [
        ("https://a.test", Some(r#"["https://a.test"]"#), None),
        ("https://*.a.test", None, Some("https://*.a.test")),
        ("null", None, Some("null")),
        (
            "https://a.test, capacitor://localhost",
            Some(r#"["https://a.test"]"#),
            Some("capacitor://localhost"),
        ),
        ("*", Some(r#"["*"]"#), None),
    ] {
        let annotations = [("enable-cors", "true"), ("cors-allow-origin", origins)];
        let manifest = ingress("web", &annotations, "/");

        let allowed = values(&manifest, "/spec/cors/allowOrigins");
        let texts = values(
            &manifest,
            "/metadata/annotations/towergate.dev~1cors-origins",
        );

        assert_eq!(allowed, Vec::from_iter(spec), "{origins}");
        assert_eq!(texts, Vec::from_iter(annotation), "{origins}");
    }
}

#[test]
fn a_burst_multiplier_of_zero_allows_no_burst() {
    let annotations = [("limit-rpm", "1"), ("limit-burst-multiplier", "0")];

    let manifest = ingress("web", &annotations, "/");
    let found = values(
        &manifest,
        "/metadata/annotations/towergate.dev~1local-rate-limit",
    );

    assert_eq!(found, [r#"{"burstPeriods":0}"#]);
}

#[test]
fn the_verdict_on_the_annotation_that_drops_an_ingress_is_kept() {
    let annotations = [("limit-rps", "1"), ("limit-whitelist", "127.0.0.2,bad")];

    let migration = migrate(&ingress("web", &annotations, "/"));

    let (outcome, text) = verdict(&migration, "limit-whitelist");
    assert_eq!(outcome, DECIDE, "{text}");
    assert!(text.contains("`bad` is not a network"), "{text}");
}
