//! Findings about SecurityPolicies that do not protect as intended, and configurations without such findings.

use serde_json::{Value, json};

use crate::decode::decode;
use crate::resolve::{ResolveOptions, resolve};

/// Codes of findings that other checks report, because the Secrets of the policies do not exist.
const OTHERS: [&str; 1] = ["policy-invalid"];

fn object(kind: &str, name: &str, spec: Value) -> Value {
    let group = match kind {
        "Gateway" | "HTTPRoute" => "gateway.networking.k8s.io/v1",
        "Service" => "v1",
        _ => "gateway.envoyproxy.io/v1alpha1",
    };
    json!({
        "apiVersion": group, "kind": kind, "metadata": {"name": name, "namespace": "d"}, "spec": spec,
    })
}

/// A Gateway named `edge` with listeners of these protocols and ports, named by port.
fn gateway(listeners: &[(&str, u16)]) -> Value {
    let listeners = listeners.iter().map(|(protocol, port)| {
        let mut listener = json!({"name": format!("l{port}"), "port": port, "protocol": protocol});
        if *protocol == "HTTPS" {
            listener["tls"] = json!({"certificateRefs": [{"name": "tls"}]});
        }
        listener
    });
    let listeners: Vec<_> = listeners.collect();
    let spec = json!({"gatewayClassName": "c", "listeners": listeners});
    object("Gateway", "edge", spec)
}

/// A route for `NAME.test`.
fn route(name: &str, rules: Value) -> Value {
    object(
        "HTTPRoute",
        name,
        json!({"parentRefs": [{"name": "edge"}], "hostnames": [format!("{name}.test")], "rules": rules}),
    )
}

/// A rule with a match.
fn rule(name: &str, one: Value) -> Value {
    json!({"name": name, "matches": [one], "backendRefs": [{"name": "echo", "port": 80}]})
}

fn every_path() -> Value {
    json!([rule("all", json!({}))])
}

/// A policy for a target: kind, name, and section (empty: none).
fn policy(name: &str, (kind, target, section): (&str, &str, &str), sections: Value) -> Value {
    let mut reference = json!({"group": "gateway.networking.k8s.io", "kind": kind, "name": target});
    if !section.is_empty() {
        reference["sectionName"] = section.into();
    }
    let mut spec = sections;
    spec["targetRefs"] = json!([reference]);
    object("SecurityPolicy", name, spec)
}

fn on_gateway() -> (&'static str, &'static str, &'static str) {
    ("Gateway", "edge", "")
}

fn on(route: &str) -> (&'static str, &str, &'static str) {
    ("HTTPRoute", route, "")
}

fn client(spec: Value) -> Value {
    let mut spec = spec;
    spec["targetRefs"] =
        json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"}]);
    object("ClientTrafficPolicy", "client", spec)
}

fn keys() -> Value {
    let key = "A".repeat(86);
    let keys = format!(r#"{{"keys":[{{"kty":"oct","k":"{key}"}}]}}"#);
    json!({"type": "Inline", "inline": keys})
}

fn jwt() -> Value {
    json!({"jwt": {"providers": [{"name": "p", "localJWKS": keys()}]}})
}

fn basic() -> Value {
    json!({"basicAuth": {"users": {"name": "users"}}})
}

fn oidc(fields: Value) -> Value {
    let mut oidc = json!({
        "provider": {"issuer": "https://op.test"}, "clientID": "c", "clientSecret": {"name": "s"},
    });
    for (name, value) in fields.as_object().unwrap() {
        oidc[name] = value.clone();
    }
    json!({ "oidc": oidc })
}

fn by_network() -> Value {
    json!({"authorization": {"rules": [
        {"action": "Allow", "principal": {"clientCIDRs": ["192.0.2.0/24"]}},
    ]}})
}

/// The findings of SecurityPolicies: `code name field: message; help`.
fn findings(objects: &[Value]) -> Vec<String> {
    let echo = object("Service", "echo", json!({"ports": [{"port": 80}]}));
    let texts = objects.iter().chain([&echo]).map(Value::to_string);
    let text = texts.collect::<Vec<_>>().join("\n---\n");
    let decoded = decode("in.yaml", &text);
    assert!(decoded.diagnostics.is_empty(), "{:?}", decoded.diagnostics);
    let options = ResolveOptions {
        serve_unclassed: true,
        ..ResolveOptions::default()
    };
    let found = resolve(&decoded.objects, &options).diagnostics;
    let found = found
        .into_iter()
        .filter(|one| one.kind == "SecurityPolicy" && !OTHERS.contains(&one.code.as_str()));
    found
        .map(|one| {
            let name = one.object.unwrap().name;
            let (code, field) = (one.code, one.field);
            format!("{code} {name} {field}: {}; {}", one.message, one.help)
        })
        .collect()
}

/// Asserts that there is one finding for each expected string, and that its message begins with that string.
#[track_caller]
fn assert_found(title: &str, objects: &[Value], expected: &[&str]) {
    let found = findings(objects);
    let same =
        found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| a.starts_with(b));
    assert!(same, "{title}: expected {expected:#?}, found {found:#?}");
}

const BOTH: [(&str, u16); 2] = [("HTTP", 80), ("HTTPS", 443)];
const SECURE: [(&str, u16); 1] = [("HTTPS", 443)];

/// A route on one listener of the Gateway.
fn on_listener(mut route: Value, listener: &str) -> Value {
    route["spec"]["parentRefs"][0]["sectionName"] = listener.into();
    route
}

#[test]
fn credentials_are_in_plain_text_even_on_a_listener_that_redirects() {
    let redirect = json!([{"filters": [
        {"type": "RequestRedirect", "requestRedirect": {"scheme": "https"}},
    ]}]);
    let mut redirect = on_listener(route("a", redirect), "l80");
    redirect["metadata"]["name"] = "redirect".into();
    let real = on_listener(route("a", every_path()), "l443");
    let objects = |target| {
        [
            gateway(&BOTH),
            redirect.clone(),
            real.clone(),
            policy("p", target, basic()),
        ]
    };

    let found = findings(&objects(on_gateway()));

    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("credentials-in-plain-text p spec.basicAuth"));
    assert!(
        found[0].contains("HTTPS listener (sectionName)"),
        "{found:?}"
    );
    assert_found("listener", &objects(("Gateway", "edge", "l443")), &[]);
    assert_found("route", &objects(on("a")), &[]);
}

#[test]
fn secrets_on_the_way_to_providers_and_services_are_reported() {
    let endpoints = json!({"provider": {
        "issuer": "https://op.test",
        "authorizationEndpoint": "http://op.test/login", "tokenEndpoint": "http://op.test/token",
    }});
    let local = json!({"provider": {
        "issuer": "http://localhost:8080",
        "authorizationEndpoint": "http://localhost:8080/a", "tokenEndpoint": "http://127.0.0.1:8080/t",
    }});
    let remote = json!({"jwt": {"providers": [
        {"name": "p", "remoteJWKS": {"uri": "http://keys.test/jwks"}},
    ]}});
    let ask = json!({"extAuth": {"http": {"backendRefs": [{"name": "echo", "port": 80}]}}});
    let code = "credentials-in-plain-text p";
    let endpoint = format!("{code} spec.oidc.provider");
    let (login, token) = (
        format!("{endpoint}.authorizationEndpoint"),
        format!("{endpoint}.tokenEndpoint"),
    );
    let uri = format!("{code} spec.jwt.providers[0].remoteJWKS.uri");
    let service = format!("{code} spec.extAuth:");
    for (title, listeners, sections, expected) in [
        (
            "endpoints",
            &SECURE[..],
            oidc(endpoints),
            vec![&*login, &*token],
        ),
        ("endpoints of this host", &SECURE, oidc(local), vec![]),
        ("key set", &SECURE, remote, vec![&*uri]),
        (
            "service",
            &BOTH,
            ask,
            vec![&*service, "no-endpoints p spec.extAuth.http.backendRefs[0]"],
        ),
        (
            "service in the deprecated field",
            &SECURE,
            json!({"extAuth": {"http": {"backendRef": {"name": "echo", "port": 80}}}}),
            vec!["no-endpoints p spec.extAuth.http.backendRef:"],
        ),
    ] {
        let objects = [
            gateway(listeners),
            route("a", every_path()),
            policy("p", on("a"), sections),
        ];
        assert_found(title, &objects, &expected);
    }
}

#[test]
fn an_address_rule_requires_a_policy_that_determines_the_address() {
    let expected = "authorization-by-peer-address p spec.authorization.rules[0]";
    let networks = format!("{expected}.principal.clientCIDRs");
    let timeouts = json!({"timeout": {"http": {"idleTimeout": "5m"}}});
    for (title, spec, expected) in [
        ("none", None, vec![&*networks]),
        ("timeouts only", Some(timeouts), vec![&*networks]),
        (
            "direct",
            Some(json!({"clientIPDetection": {"directSourceIP": {}}})),
            vec![],
        ),
        (
            "hops",
            Some(json!({"clientIPDetection": {"xForwardedFor": {"numTrustedHops": 1}}})),
            vec![],
        ),
        (
            "PROXY",
            Some(json!({"proxyProtocol": {"optional": false}})),
            vec![],
        ),
    ] {
        let mut objects = vec![gateway(&SECURE), route("a", every_path())];
        objects.push(policy("p", on("a"), by_network()));
        objects.extend(spec.map(client));
        assert_found(title, &objects, &expected);
    }
    for (rule, field) in [
        (json!({"cel": "source.address.startsWith('10.')"}), "cel"),
        (
            json!({"principal": {"clientIPGeoLocations": [{"country": "FR"}]}}),
            "principal.clientIPGeoLocations",
        ),
    ] {
        let mut rule = rule;
        rule["action"] = "Allow".into();
        let sections = json!({"authorization": {"rules": [rule]}});
        let objects = [
            gateway(&SECURE),
            route("a", every_path()),
            policy("p", on("a"), sections),
        ];
        let found = findings(&objects);
        assert!(
            found
                .iter()
                .any(|one| one.starts_with(&format!("{expected}.{field}"))),
            "{found:?}"
        );
    }
}

#[test]
fn a_redirect_url_is_compared_with_scheme_host_and_port_of_listeners() {
    let missing = ["oidc-redirect-not-served p spec.oidc.redirectURL"];
    let plain = ["credentials-in-plain-text p spec.oidc"];
    let other_port = [("HTTPS", 8443)];
    for (listeners, url, expected) in [
        (&SECURE[..], "https://a.test/oauth2/callback", &[][..]),
        (&SECURE, "https://A.test:443/oauth2/callback", &[]),
        (&SECURE, "https://a.test:9443/oauth2/callback", &missing),
        (&SECURE, "http://a.test/oauth2/callback", &missing),
        (&SECURE, "https://b.test/oauth2/callback", &missing),
        (&SECURE, "https://%REQ(:authority)%/oauth2/callback", &[]),
        (
            &SECURE,
            "https://%REQ(:authority)%:8443/oauth2/callback",
            &[],
        ),
        (&SECURE, "https://%REQ(x-tenant)%.test/oauth2/callback", &[]),
        (
            &SECURE,
            "http://%REQ(:authority)%/oauth2/callback",
            &missing,
        ),
        (&other_port, "https://a.test:8443/oauth2/callback", &[]),
        (&other_port, "https://a.test/oauth2/callback", &missing),
        (
            &other_port,
            "https://%REQ(:authority)%/oauth2/callback",
            &[],
        ),
        (
            &[("HTTP", 80)],
            "https://a.test/oauth2/callback",
            &[plain[0], missing[0]],
        ),
        (&[("HTTP", 80)], "%REQ(:scheme)%://%REQ(host)%/cb", &plain),
    ] {
        let sections = oidc(json!({ "redirectURL": url }));
        let objects = [
            gateway(listeners),
            route("a", every_path()),
            policy("p", on("a"), sections),
        ];
        assert_found(url, &objects, expected);
    }
    let sections = oidc(json!({"redirectURL": "https://a.test/oauth2/callback"}));
    let proxied = client(json!({"clientIPDetection": {"xForwardedFor": {"numTrustedHops": 1}}}));
    let listeners = gateway(&[("HTTP", 80)]);
    let objects = [
        listeners,
        route("a", every_path()),
        policy("p", on("a"), sections),
        proxied,
    ];
    assert_found("a proxy in front terminates TLS", &objects, &plain);
}

#[test]
fn a_callback_belongs_to_the_rule_that_a_browser_reaches() {
    let missing = ["oidc-redirect-not-served p spec.oidc.redirectURL"];
    let path = |value: &str| json!({"path": {"type": "PathPrefix", "value": value}});
    let logout = |path: &str| oidc(json!({ "logoutPath": path }));
    let app = json!([rule("app", path("/app")), rule("login", path("/oauth2"))]);
    let header = json!({"headers": [{"name": "x", "value": "y"}]});
    let post = json!({"method": "POST"});
    let no_logout = ["oidc-logout-not-served p spec.oidc.logoutPath"];
    for (title, rules, sections, expected) in [
        (
            "path",
            json!([rule("app", path("/app"))]),
            oidc(json!({})),
            &missing[..],
        ),
        (
            "header",
            json!([rule("app", header)]),
            oidc(json!({})),
            &missing,
        ),
        (
            "method",
            json!([rule("app", post)]),
            oidc(json!({})),
            &missing,
        ),
        ("both", app.clone(), oidc(json!({})), &[]),
        ("logout", app.clone(), logout("/logout"), &no_logout),
        ("logout below", app, logout("/app/logout"), &[]),
    ] {
        let objects = [
            gateway(&SECURE),
            route("a", rules),
            policy("p", on("a"), sections),
        ];
        assert_found(title, &objects, expected);
    }
    let exact = json!({"path": {"type": "Exact", "value": "/oauth2/callback"}});
    let mut other = route("a", json!([rule("callback", exact)]));
    other["metadata"]["name"] = "other".into();
    let objects = [
        gateway(&SECURE),
        route("a", every_path()),
        other,
        policy("p", on("a"), oidc(json!({}))),
    ];
    let found = findings(&objects);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("HTTPRoute d/other spec.rules[0]"),
        "{found:?}"
    );
}

#[test]
fn a_policy_without_authentication_that_replaces_one_is_reported() {
    let cors = || json!({"cors": {"allowOrigins": ["*"]}});
    let mut merged = cors();
    merged["mergeType"] = "StrategicMerge".into();
    let open = json!({"authorization": {"defaultAction": "Allow"}});
    let direct = client(json!({"clientIPDetection": {"directSourceIP": {}}}));
    let replaced = ["authentication-replaced a spec.targetRefs: the policy replaces d/gw"];
    for (title, own, above, expected) in [
        ("cors", cors(), jwt(), &replaced[..]),
        ("networks", by_network(), jwt(), &replaced),
        ("cors instead of networks", cors(), by_network(), &replaced),
        ("merged", merged, jwt(), &[]),
        ("open on purpose", open, jwt(), &[]),
        ("other authentication", basic(), jwt(), &[]),
        ("jwt instead of networks", jwt(), by_network(), &[]),
    ] {
        let mut objects = vec![gateway(&SECURE), direct.clone()];
        objects.extend([route("a", every_path()), route("b", every_path())]);
        objects.extend([policy("gw", on_gateway(), above), policy("a", on("a"), own)]);
        assert_found(title, &objects, expected);
    }
    let objects = [
        gateway(&SECURE),
        route("a", every_path()),
        policy("gw", on_gateway(), jwt()),
        policy("a", on("a"), cors()),
    ];
    assert_found("in force nowhere", &objects, &["policy-replaced gw"]);
}

#[test]
fn a_recomputed_route_skips_the_authentication_of_the_new_rule() {
    let token = json!({"jwt": {"providers": [{
        "name": "p", "recomputeRoute": true, "localJWKS": keys(),
        "claimToHeaders": [{"claim": "tier", "header": "X-Tier"}],
    }]}});
    let gold = |header: &str| json!({"headers": [{"name": header, "value": "gold"}]});
    let skipped = ["authentication-skipped p spec.jwt.providers[0].recomputeRoute"];
    let deny = json!({"authorization": {"defaultAction": "Deny"}, "mergeType": "StrategicMerge"});
    let rules = |header| json!([rule("base", json!({})), rule("gold", gold(header))]);
    for (title, header, own, expected) in [
        ("basic", "x-tier", basic(), &skipped[..]),
        ("other tokens", "x-tier", jwt(), &skipped),
        ("authorization runs later", "x-tier", deny, &[]),
        ("another header", "x-other", basic(), &[]),
    ] {
        let objects = [
            gateway(&SECURE),
            route("a", rules(header)),
            policy("p", on_gateway(), token.clone()),
            policy("gold", ("HTTPRoute", "a", "gold"), own),
        ];
        assert_found(title, &objects, expected);
    }
}

#[test]
fn a_filter_asks_a_service_without_endpoints() {
    let filter = |at: usize| {
        let mut filters = vec![json!({"type": "CORS", "cors": {"allowOrigins": ["*"]}}); at];
        filters.push(json!({"type": "ExternalAuth", "externalAuth": {
            "protocol": "HTTP", "http": {}, "backendRef": {"name": "auth", "port": 80},
        }}));
        json!([{"filters": filters, "backendRefs": [{"name": "echo", "port": 80}]}])
    };
    let service = object("Service", "auth", json!({"ports": [{"port": 80}]}));
    for at in [0, 1] {
        let objects = [gateway(&SECURE), route("a", filter(at)), service.clone()];
        let texts: Vec<_> = objects.iter().map(Value::to_string).collect();
        let decoded = decode("in.yaml", &texts.join("\n---\n"));
        let options = ResolveOptions {
            serve_unclassed: true,
            ..ResolveOptions::default()
        };

        let found = resolve(&decoded.objects, &options).diagnostics;

        let field = format!("spec.rules[0].filters[{at}].externalAuth.backendRef");
        let mut found = found.iter();
        assert!(found.any(|one| one.code.as_str() == "no-endpoints" && one.field == field));
    }
}
