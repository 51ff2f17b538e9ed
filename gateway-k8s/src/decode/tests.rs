//! End-to-end tests of the decoder: manifests in, objects and diagnostics out.

use proptest::prelude::*;

use super::*;
use crate::finding::FindingCode;

fn codes(decoded: &Decoded) -> Vec<(FindingCode, usize, usize)> {
    decoded
        .diagnostics
        .iter()
        .map(|d| (d.code, d.line, d.column))
        .collect()
}

fn one(text: &str) -> Diagnostic {
    let decoded = decode("a.yaml", text);
    assert_eq!(decoded.diagnostics.len(), 1, "{:?}", decoded.diagnostics);
    decoded
        .diagnostics
        .into_iter()
        .next()
        .expect("there is one")
}

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: echo
  namespace: team-a
spec:
  ports:
    - port: 80
      targetPort: http
";

#[test]
fn an_object_is_kept_with_its_origin() {
    let decoded = decode("a.yaml", &format!("# first\n---\n{SERVICE}"));

    assert_eq!(decoded.diagnostics, []);
    let service = &decoded.objects.services[&ObjectKey::new("team-a", "echo")];
    assert_eq!(service.spec.ports[0].port, 80);
    assert_eq!((&*service.origin.file, service.origin.line), ("a.yaml", 3));
    assert_eq!(service.origin.locate("spec.ports[0].port"), Some((10, 13)));
    assert_eq!(service.origin.locate("spec.clusterIP"), Some((8, 1)));
}

#[test]
fn a_broken_document_spoils_nothing_else() {
    let text = format!(
        "{SERVICE}---\nkind: [\n---\n{}",
        SERVICE.replace("echo", "other")
    );

    let decoded = decode("a.yaml", &text);

    assert_eq!(decoded.objects.services.len(), 2);
    assert_eq!(decoded.diagnostics[0].code, FindingCode::Syntax);
    assert!((11..=12).contains(&decoded.diagnostics[0].line));
}

#[test]
fn json_and_lists_are_read_alike() {
    let json = r#"{"apiVersion": "v1", "kind": "List", "items": [
 {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "creationTimestamp": null}},
 {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 0}]}}
]}"#;

    let decoded = decode("a.json", json);

    assert_eq!(decoded.objects.namespaces.len(), 1);
    assert_eq!(
        &*decoded.objects.namespaces[&ObjectKey::new("", "a")]
            .origin
            .within,
        "items[0]"
    );
    assert_eq!(codes(&decoded), [(FindingCode::PortOutOfRange, 3, 97)]);
}

#[test]
fn items_of_a_typed_list_inherit_its_kind() {
    let decoded = decode(
        "",
        "{apiVersion: v1, kind: NamespaceList, items: [{metadata: {name: a}}]}",
    );

    assert_eq!(decoded.objects.namespaces.len(), 1);
}

#[test]
fn mistakes_are_diagnosed_at_their_place() {
    for (text, code, line, column) in [
        (
            "apiVersion: v1\nkind: Service\nmetadata: {}\n",
            FindingCode::MissingName,
            1,
            1,
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: A_b}\n",
            FindingCode::InvalidName,
            3,
            18,
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: 5}\n",
            FindingCode::InvalidObject,
            3,
            18,
        ),
        (
            "apiVersion: v1\nmetadata: {name: a}\n",
            FindingCode::MissingKind,
            1,
            1,
        ),
        ("- a\n- b\n", FindingCode::NotAnObject, 1, 1),
        ("replicas: 3\n", FindingCode::NotAnObject, 1, 1),
        (
            "apiVersion: v2\nkind: Service\nmetadata: {name: a}\n",
            FindingCode::WrongVersion,
            2,
            7,
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a, lables: {}}\n",
            FindingCode::UnknownField,
            3,
            21,
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n  - port: x\n",
            FindingCode::InvalidObject,
            6,
            11,
        ),
        (
            "apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: BackendLBPolicy\nmetadata: {name: a}\n",
            FindingCode::UnsupportedKind,
            2,
            7,
        ),
        (
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gatway\nmetadata: {name: a}\n",
            FindingCode::UnknownKind,
            2,
            7,
        ),
    ] {
        let found = one(text);

        assert_eq!(
            (found.code, found.line, found.column),
            (code, line, column),
            "{text}"
        );
    }
}

#[test]
fn help_names_what_was_probably_meant() {
    let field = one("apiVersion: v1\nkind: Service\nmetadata: {name: a, lables: {}}\n");
    let kind = one("apiVersion: gateway.networking.k8s.io/v1\nkind: Gatway\nmetadata: {name: a}\n");
    let version = one("apiVersion: gateway.networking.k8s.io/v1alpha1\nkind: GRPCRoute\n");

    assert_eq!(field.field, "metadata.lables");
    assert_eq!(field.help, "did you mean `labels`?");
    assert_eq!(kind.help, "did you mean `Gateway`?");
    assert!(
        version
            .help
            .contains("`gateway.networking.k8s.io/v1alpha2`"),
        "{}",
        version.help
    );
}

#[test]
fn of_two_objects_of_one_name_the_first_counts() {
    let text = format!("{SERVICE}---\n{}", SERVICE.replace("port: 80", "port: 81"));

    let decoded = decode("a.yaml", &text);

    assert_eq!(codes(&decoded), [(FindingCode::DuplicateObject, 11, 1)]);
    assert!(decoded.diagnostics[0].message.contains("a.yaml:1"));
    let service = &decoded.objects.services[&ObjectKey::new("team-a", "echo")];
    assert_eq!(service.spec.ports[0].port, 80);
}

#[test]
fn two_documents_of_a_namespace_are_one_object_unless_a_label_has_two_values() {
    let namespace = |labels: &str| {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: a, labels: {{{labels}}}}}\n---\n"
        )
    };
    let text = [namespace("w: '1', x: '2'"), namespace("x: '2', z: '3'")].concat();

    let decoded = decode("a.yaml", &text);

    assert_eq!(codes(&decoded), []);
    let merged = &decoded.objects.namespaces[&ObjectKey::new("", "a")];
    let labels: Vec<&str> = merged.meta.labels.keys().map(|name| &**name).collect();
    assert_eq!(labels, ["w", "x", "z"]);

    let text = [namespace("x: '1'"), namespace("x: '2'")].concat();
    let conflicting = decode("a.yaml", &text);

    assert_eq!(codes(&conflicting), [(FindingCode::DuplicateObject, 5, 1)]);
}

#[test]
fn kinds_of_others_give_one_note_each() {
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n---\n";
    let text = format!("{deployment}{deployment}apiVersion: cert-manager.io/v1\nkind: Issuer\n");

    let decoded = decode("a.yaml", &text);

    let notes: Vec<_> = decoded
        .diagnostics
        .iter()
        .map(|d| (d.severity, d.message.as_str()))
        .collect();
    assert_eq!(
        notes,
        [
            (
                Severity::Note,
                "2 objects of kind Deployment (apps/v1) skipped: not for this gateway"
            ),
            (
                Severity::Note,
                "1 object of kind Issuer (cert-manager.io/v1) skipped: not for this gateway"
            ),
        ]
    );
}

#[test]
fn settings_of_ingress_nginx_are_a_warning_unless_ingresses_are_served() {
    let named = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ingress-nginx-controller}\n";
    let other = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    let found = |served: bool| {
        let mut decoder = Decoder::new(false).with_ingresses_served(served);
        decoder.file("a.yaml", &format!("{named}{other}"));
        decoder.finish().diagnostics
    };

    let [warning] = &found(false)[..] else {
        panic!("{:?}", found(false));
    };
    assert_eq!(
        (warning.severity, warning.message.as_str()),
        (
            Severity::Warning,
            "settings of ingress-nginx not in force (1 object)"
        )
    );
    assert!(found(true).is_empty());
}

#[test]
fn strict_makes_unknown_fields_errors_and_keeps_the_object() {
    let mut decoder = Decoder::new(true);
    decoder.file(
        "a.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a, lables: {}}\n",
    );
    let decoded = decoder.finish();

    assert_eq!(decoded.diagnostics[0].severity, Severity::Error);
    assert_eq!(decoded.objects.services.len(), 1);
}

#[test]
fn an_unknown_field_of_a_security_policy_is_always_an_error() {
    let text = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\n\
                metadata: {name: a}\nspec: {authorisation: {}}\n";

    let found = decode("a.yaml", text).diagnostics;

    assert_eq!(
        (found[0].severity, found[0].code),
        (Severity::Error, FindingCode::UnknownField)
    );
}

#[test]
fn values_of_secrets_are_never_told() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: hunter2\n";
    let number = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {a: 12345}\n";

    for found in [one(text), one(number)] {
        let told = format!("{found:?}");

        assert!(
            !told.contains("hunter2") && !told.contains("12345"),
            "{told}"
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
        decode("a", &String::from_utf8_lossy(&bytes));
    }

    /// Manifests with small mutations, which exercise every decoding step.
    #[test]
    fn a_mutated_manifest_never_panics(at in 0..SERVICE.len(), cut in 0..8_usize, insert in "[-:{}\\[\\]a&*! \n]{0,4}") {
        let end = (at + cut).min(SERVICE.len());
        let text = format!("{}{insert}{}", &SERVICE[..at], &SERVICE[end..]);

        let decoded = decode("a", &text);

        prop_assert!(decoded.objects.services.len() <= 1);
    }
}
