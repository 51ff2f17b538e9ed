//! Validation of objects against the generated schemas, with the results of the API server.

use super::violations;
use crate::decode::parse_tree;

/// Violations of a manifest of `kind`, each as `field: message`.
fn found(kind: &str, api_version: &str, text: &str) -> Vec<String> {
    let node = parse_tree(text).expect("the manifest is well-formed");
    let violations = violations(kind, api_version, &node);
    violations.iter().map(ToString::to_string).collect()
}

fn route(spec: &str) -> Vec<String> {
    found(
        "HTTPRoute",
        "gateway.networking.k8s.io/v1",
        &format!("spec: {spec}"),
    )
}

fn path(value: &str) -> Vec<String> {
    route(&format!(
        "{{rules: [{{matches: [{{path: {{value: \"{value}\"}}}}]}}]}}"
    ))
}

#[test]
fn a_valid_route_has_no_violations() {
    assert_eq!(
        route(
            "{parentRefs: [{name: g}], hostnames: [a.example.com], rules: [{matches: [{path: {value: /a}, \
             method: GET}], backendRefs: [{name: s, port: 80}]}]}"
        ),
        [""; 0]
    );
    assert_eq!(route("{}"), [""; 0]);
}

#[test]
fn methods_are_those_of_the_enum() {
    for method in ["get", "FOO"] {
        let found = route(&format!("{{rules: [{{matches: [{{method: {method}}}]}}]}}"));

        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with(&format!(
                "spec.rules[0].matches[0].method: Unsupported value: \"{method}\": supported values: \"GET\""
            )),
            "{found:?}"
        );
    }
}

#[test]
fn paths_hold_to_the_rules_of_their_type() {
    for (value, message) in [
        (
            "/a//b",
            "must not contain '//' when type one of ['Exact', 'PathPrefix']",
        ),
        (
            "/a/../b",
            "must not contain '/../' when type one of ['Exact', 'PathPrefix']",
        ),
        (
            "/a%2fb",
            "must not contain '%2f' when type one of ['Exact', 'PathPrefix']",
        ),
        (
            "a",
            "value must be an absolute path and start with '/' when type one of ['Exact', 'PathPrefix']",
        ),
        ("/a?b", "must only contain valid characters"),
        ("/a b", "must only contain valid characters"),
    ] {
        let found = path(value);

        assert_eq!(found.len(), 1, "{value}: {found:?}");
        let expected = format!("spec.rules[0].matches[0].path: {message}");
        assert!(found[0].starts_with(&expected), "{value}: {found:?}");
    }
    assert_eq!(path("/a/b%20c"), [""; 0]);
}

#[test]
fn a_redirect_excludes_backends() {
    let found = route(
        "{rules: [{filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}], \
         backendRefs: [{name: s, port: 80}]}]}",
    );

    assert_eq!(
        found,
        ["spec.rules[0]: RequestRedirect filter must not be used together with backendRefs"]
    );
}

#[test]
fn counts_and_numbers_have_bounds() {
    let rules = vec!["{}"; 17].join(", ");
    assert_eq!(
        route(&format!("{{rules: [{rules}]}}")),
        ["spec.rules: must have at most 16 items"]
    );
    let matches = vec!["{method: GET}"; 65].join(", ");
    assert_eq!(
        route(&format!("{{rules: [{{matches: [{matches}]}}]}}")),
        ["spec.rules[0].matches: must have at most 64 items"]
    );
    assert_eq!(
        route("{rules: [{backendRefs: [{name: s, port: 80, weight: 2000000}]}]}"),
        ["spec.rules[0].backendRefs[0].weight: should be less than or equal to 1000000"]
    );
    let matches = vec!["{method: GET}"; 60].join(", ");
    let rules = vec![format!("{{matches: [{matches}]}}"); 3].join(", ");
    assert_eq!(
        route(&format!("{{rules: [{rules}]}}")),
        [
            "spec.rules: While 16 rules and 64 matches per rule are allowed, the total number of matches across all rules in a route must be less than 128"
        ]
    );
}

#[test]
fn hostnames_are_names() {
    let found = route("{hostnames: [\"*\"]}");

    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("spec.hostnames[0]: should match '^(\\*\\.)?"),
        "{found:?}"
    );
}

#[test]
fn a_gateway_needs_a_class() {
    let gateway = |spec: &str| {
        found(
            "Gateway",
            "gateway.networking.k8s.io/v1",
            &format!("spec: {spec}"),
        )
    };

    assert_eq!(
        gateway("{listeners: [{name: a, port: 80, protocol: HTTP}]}"),
        ["spec.gatewayClassName: Required value"]
    );
    assert_eq!(
        gateway(
            "{gatewayClassName: c, listeners: [{name: a, port: 80, protocol: HTTP}, \
             {name: a, port: 81, protocol: HTTP}]}"
        ),
        ["spec.listeners[1]: Duplicate value: {\"name\":\"a\"}"]
    );
}

#[test]
fn defaults_are_applied_before_rules() {
    // The rule requires a type, which is the default `PathPrefix`.
    assert_eq!(path("/a"), [""; 0]);
    // A null counts as absent, so the default applies.
    assert_eq!(
        route("{rules: [{matches: [{path: {type: null, value: /a}}]}]}"),
        [""; 0]
    );
    // The default kind of a backendRef is Service, which requires a port.
    assert_eq!(
        route("{rules: [{backendRefs: [{name: s}]}]}"),
        ["spec.rules[0].backendRefs[0]: Must have port for Service reference"]
    );
}

#[test]
fn types_are_those_of_the_schema() {
    assert_eq!(
        route("{rules: [{matches: [{path: {value: 1}}]}], hostnames: x}"),
        [
            "spec.hostnames: must be of type array: \"string\"",
            "spec.rules[0].matches[0].path.value: must be of type string: \"integer\"",
        ]
    );
    assert_eq!(
        found(
            "HTTPRoute",
            "gateway.networking.k8s.io/v1",
            "kind: HTTPRoute"
        ),
        ["spec: Required value"]
    );
}

#[test]
fn base64_has_padding_and_content() {
    let body = |text: &str| {
        let spec = format!(
            "spec: {{targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: g}}], healthCheck: \
             {{active: {{type: TCP, tcp: {{send: {{type: Binary, binary: \"{text}\"}}}}}}}}}}"
        );
        found(
            "BackendTrafficPolicy",
            "gateway.envoyproxy.io/v1alpha1",
            &spec,
        )
    };

    assert_eq!(body("YQ=="), [""; 0]);
    for text in ["", "YQ", "Y===", "Y*==", "=AAA"] {
        let expected =
            format!("spec.healthCheck.active.tcp.send.binary: must be of type byte: {text:?}");
        assert_eq!(body(text), [expected], "{text}");
    }
}

#[test]
fn policies_have_rules_between_fields() {
    let policy = |spec: &str| {
        found(
            "ClientTrafficPolicy",
            "gateway.envoyproxy.io/v1alpha1",
            &format!("spec: {spec}"),
        )
    };
    let target = "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g}]";

    assert_eq!(policy(&format!("{{{target}}}")), [""; 0]);
    assert_eq!(
        policy(&format!("{{{target}, connection: {{bufferLimit: 32Ki}}}}")),
        [""; 0]
    );
    assert_eq!(
        policy(&format!("{{{target}, connection: {{bufferLimit: 0.5}}}}")),
        ["spec.connection.bufferLimit: must be of type integer or string: \"number\""]
    );
    assert_eq!(
        policy(&format!(
            "{{{target}, clientIPDetection: {{xForwardedFor: {{numTrustedHops: 1}}, directSourceIP: {{}}}}}}"
        )),
        [
            "spec.clientIPDetection: exactly one of xForwardedFor, customHeader, or directSourceIP must be set"
        ]
    );
    assert_eq!(
        policy("{}"),
        ["spec: either targetRef or targetRefs must be used"]
    );
}

#[test]
fn an_envoy_proxy_holds_to_the_rules_of_its_definition() {
    let proxy = |spec: &str| {
        let text = format!("spec: {spec}");
        found("EnvoyProxy", "gateway.envoyproxy.io/v1alpha1", &text)
    };

    assert_eq!(
        proxy(
            "{provider: {type: Kubernetes, kubernetes: {envoyDeployment: {replicas: 2, container: {env: [{name: A, value: b}]}}}}}"
        ),
        [""; 0]
    );
    for (spec, message) in [
        (
            "{provider: {type: Nomad}}",
            "spec.provider.type: Unsupported value: \"Nomad\"",
        ),
        (
            "{provider: {type: Kubernetes, kubernetes: {envoyService: {type: ClusterIP, loadBalancerIP: 192.0.2.1}}}}",
            "loadBalancerIP can only be set for LoadBalancer type",
        ),
        (
            "{provider: {type: Kubernetes, kubernetes: {envoyDeployment: {}, envoyDaemonSet: {}}}}",
            "only one of envoyDeployment or envoyDaemonSet can be specified",
        ),
        (
            "{provider: {type: Kubernetes, kubernetes: {envoyDeployment: {container: {env: [{value: b}]}}}}}",
            "env[0].name: Required value",
        ),
        (
            "{telemetry: {accessLog: {settings: [{sinks: [{type: File}]}]}}}",
            "If AccessLogSink type is File, file field needs to be set.",
        ),
    ] {
        let found = proxy(spec);
        assert!(
            found.iter().any(|one| one.contains(message)),
            "{spec}: {found:?}"
        );
    }
}

/// The rules of kinds that have no effect decide which of their objects are closed.
#[test]
fn extension_and_patch_policies_hold_to_the_rules_of_their_definitions() {
    let extension = |extension: &str| {
        let text = format!(
            "spec: {{targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}}], extProc: [{extension}]}}"
        );
        found(
            "EnvoyExtensionPolicy",
            "gateway.envoyproxy.io/v1alpha1",
            &text,
        )
    };
    let patch = found(
        "EnvoyPatchPolicy",
        "gateway.envoyproxy.io/v1alpha1",
        "spec: {type: Script, targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: g}}",
    );
    let valid = "{backendRefs: [{name: s, port: 80}], failOpen: true}";
    let streamed = "{backendRefs: [{name: s, port: 80}], failOpen: true, \
                    processingMode: {request: {body: FullDuplexStreamed}}}";

    assert_eq!(extension(valid), [""; 0]);
    assert_eq!(extension(streamed).len(), 1, "{:?}", extension(streamed));
    assert!(
        patch[0].starts_with("spec.type: Unsupported value"),
        "{patch:?}"
    );
}
