//! The readable parts of a policy that is not accepted as a whole.
//!
//! Without the policy its targets would be unprotected. Therefore a document that is probably a policy always
//! yields an object. The object has the readable part of the name and of the targets, and the error in
//! [`Object::unreadable_fields`](crate::objects::Object), which makes the targets fail closed.
//!
//! | error | object |
//! |---|---|
//! | invalid name, labels, version or kind | the targets as written |
//! | invalid namespace | the targets as written, in every namespace |
//! | invalid `spec` or YAML | no targets, so the whole namespace fails closed |

use std::collections::BTreeSet;

use towergate_policy::SchemaViolation;

use super::kind::{self, Kind};
use super::metadata;
use super::tree::{Node, Place, Value};
use super::unknown::POLICY;
use super::{Head, Reader, store, typed};
use crate::api::meta::ObjectMeta;
use crate::object_name::is_label;
use crate::objects::{EVERY_NAMESPACE, ObjectKey, Origin};

/// Sections of an EnvoyExtensionPolicy whose items have `failOpen`.
const MAY_FAIL_OPEN: [&str; 2] = ["extProc", "wasm"];
/// Fields that select the targets of a policy.
const TARGETS: [&str; 4] = ["targetRef", "targetRefs", "targetSelectors", "mergeType"];

impl Reader {
    /// Adds the readable parts of an unsupported policy, or of a policy with an error outside of `spec`.
    /// Other kinds are omitted.
    pub(super) fn keep_targets(
        &mut self,
        kind: Kind,
        api_version: &str,
        node: &Node,
        origin: &Origin,
        fault: Option<SchemaViolation>,
    ) {
        if !kind.is_policy() {
            return;
        }
        let head = Head {
            kind,
            api_version,
            meta: readable_metadata(&kind, node),
            origin: origin.clone(),
            place: node.place,
            faults: fault.into_iter().collect(),
        };
        let empty = Node::empty_map(node.place);
        let body = node.field("spec").map_or(&empty, |spec| &**spec);
        store::insert(self, head, node, body);
    }

    /// Adds the policies that a malformed document probably contains, without targets.
    pub(super) fn keep_policies_of_text(&mut self, origin: &Origin, message: &str) {
        let (kinds, namespaces) = mentioned(&origin.text);
        for kind in kinds {
            for namespace in &namespaces {
                let place = Place { line: 1, column: 1 };
                let head = Head {
                    kind,
                    api_version: "",
                    meta: ObjectMeta {
                        namespace: namespace.clone(),
                        generation: 1,
                        ..ObjectMeta::default()
                    },
                    origin: origin.clone(),
                    place,
                    faults: vec![SchemaViolation {
                        field: String::new(),
                        message: message.to_owned(),
                    }],
                };
                let empty = Node::empty_map(place);
                store::insert(self, head, &empty, &empty);
            }
        }
    }
}

/// The kinds of policies and the namespaces that a document mentions. Without a namespace in the document,
/// the namespace is `default`.
fn mentioned(text: &str) -> (Vec<Kind>, BTreeSet<String>) {
    let mut kinds: Vec<Kind> = Vec::new();
    let mut namespaces = BTreeSet::new();
    // JSON and flow style have several keys in a line.
    let parts = text.split(['\n', ',', '{', '}']);
    for (key, value) in parts.filter_map(|part| part.split_once(':')) {
        let unquoted = |text: &str| {
            let text = text.split(" #").next().unwrap_or_default();
            text.trim_matches(|c: char| c.is_whitespace() || "\"'-".contains(c))
                .to_owned()
        };
        let value = unquoted(value);
        match unquoted(key).as_str() {
            "kind" => kinds.extend(
                kind::policy(&value).filter(|found| kinds.iter().all(|kind| kind.id != found.id)),
            ),
            "namespace" if is_label(&value) => drop(namespaces.insert(value)),
            "namespace" => drop(namespaces.insert(EVERY_NAMESPACE.to_owned())),
            _ => {}
        }
    }
    if namespaces.is_empty() {
        namespaces.insert("default".to_owned());
    }
    (kinds, namespaces)
}

/// The metadata, or the readable part of name and namespace.
fn readable_metadata(kind: &Kind, node: &Node) -> ObjectMeta {
    let meta = node.field("metadata");
    let whole = meta.and_then(|meta| typed::read::<ObjectMeta>(meta, "metadata").0.ok());
    if let Some(mut whole) = whole
        && metadata::check(kind, &mut whole).is_ok()
    {
        return whole;
    }
    let text = |field| meta.and_then(|meta| meta.field(field));
    let namespace = match (meta.map(|meta| &meta.value), text("namespace")) {
        (None | Some(Value::Map(_)), None) => "default",
        (_, namespace) => namespace
            .and_then(|namespace| namespace.text())
            .filter(|namespace| is_label(namespace))
            .unwrap_or(EVERY_NAMESPACE),
    };
    let name = text("name").and_then(|name| name.text());
    ObjectMeta {
        name: name.unwrap_or_default().to_owned(),
        namespace: namespace.to_owned(),
        generation: 1,
        ..ObjectMeta::default()
    }
}

/// The name of an object, if it can be read.
pub(super) fn readable_key(kind: &Kind, node: &Node) -> Option<ObjectKey> {
    let meta = readable_metadata(kind, node);
    let readable = kind.namespaced && !meta.name.is_empty() && meta.namespace != EVERY_NAMESPACE;
    readable.then(|| ObjectKey::new(meta.namespace, meta.name))
}

/// The probable policy kind of a document without `apiVersion` or `kind`.
pub(super) fn probable_policy(api_version: &str, name: &str, node: &Node) -> Option<Kind> {
    if !name.is_empty() {
        return kind::policy(name);
    }
    let spec = node.field("spec")?;
    let targets = TARGETS.iter().any(|field| spec.field(field).is_some());
    // SecurityPolicy is the most restrictive kind of policy that has these target fields.
    (targets && kind::is_like_envoy(api_version)).then(|| kind::policy("SecurityPolicy"))?
}

/// Whether an unsupported policy permits requests that it does not process (`failOpen: true`).
pub(super) fn may_be_left_out(node: &Node) -> bool {
    let Some(Value::Map(fields)) = node.field("spec").map(|spec| &spec.value) else {
        return false;
    };
    let fails_open = |item: &Node| {
        let value = item.field("failOpen");
        value.and_then(|value| value.boolean()) == Some(true)
    };
    let mut fields = fields
        .iter()
        .filter(|(key, node)| !TARGETS.contains(&key.text.as_str()) && !node.is_null());
    fields.all(|(key, node)| match &node.value {
        Value::List(items) if MAY_FAIL_OPEN.contains(&key.text.as_str()) => {
            items.iter().all(|item| fails_open(item))
        }
        _ => false,
    })
}

/// Adds the effect of an error outside of `spec` to the advice.
pub(super) fn advice(kind: &Kind, advice: &str) -> String {
    if !kind.is_policy() {
        return advice.to_owned();
    }
    format!("{advice}; until then {POLICY}")
}

#[cfg(test)]
mod tests {
    use crate::decode::{Decoded, decode};
    use crate::finding::FindingCode;

    /// Names and violations of the SecurityPolicies of a document.
    fn policies(text: &str) -> Vec<(String, Vec<String>)> {
        let Decoded { objects, .. } = decode("a.yaml", text);
        let policies = objects.security_policies.values().map(|policy| {
            let fields = policy
                .unreadable_fields
                .iter()
                .map(|fault| fault.field.clone());
            (policy.key().to_string(), fields.collect())
        });
        policies.collect()
    }

    fn policy(api_version: &str, metadata: &str, spec: &str) -> String {
        format!(
            "apiVersion: gateway.envoyproxy.io/{api_version}\nkind: SecurityPolicy\n\
             metadata: {metadata}\nspec: {spec}\n"
        )
    }

    const SPEC: &str =
        "{targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: a}], cors: {}}";

    #[test]
    fn a_policy_whose_head_is_invalid_keeps_its_targets() {
        for (metadata, name, field) in [
            ("{name: P_, namespace: ns}", "ns/P_", "metadata.name"),
            (
                "{name: p, namespace: ns, labels: 5}",
                "ns/p",
                "metadata.labels",
            ),
            ("{name: p, namespace: N_}", "*/p", "metadata.namespace"),
            ("{namespace: ns}", "ns/unnamed (a.yaml:1)", "metadata"),
            ("5", "*/unnamed (a.yaml:1)", "metadata"),
        ] {
            let text = policy("v1alpha1", metadata, SPEC);

            let decoded = decode("a.yaml", &text);
            let found = decoded.objects.security_policies.values().next().unwrap();
            assert_eq!(found.key().to_string(), name);
            assert_eq!(found.unreadable_fields[0].field, field, "{metadata}");
            assert_eq!(found.spec.targets().list.len(), 1);
            let help = &decoded.diagnostics[0].help;
            assert!(help.contains("receive 500"), "{help}");
        }
    }

    #[test]
    fn a_policy_of_a_wrong_version_or_kind_keeps_its_targets() {
        let wrong_version = policy("v1alpha2", "{name: p, namespace: ns}", SPEC);
        let right = policy("v1alpha1", "{name: p, namespace: ns}", SPEC);
        for text in [
            wrong_version,
            right.replace("SecurityPolicy", "SecurityPolcy"),
            right.replace("gateway.envoyproxy.io", "gateway.networking.k8s.io"),
            right.replace("envoyproxy", "envoyprxy"),
            right.replace("kind: SecurityPolicy\n", ""),
            right.replace("apiVersion: gateway.envoyproxy.io/v1alpha1\n", ""),
        ] {
            let found = policies(&text);

            assert_eq!(found.len(), 1, "{text}");
            assert_eq!(found[0].0, "ns/p");
            assert!(!found[0].1.is_empty());
        }
    }

    #[test]
    fn a_policy_without_a_readable_spec_has_no_targets() {
        for spec in ["x", "[]", "{targetRefs: x}"] {
            let decoded = decode(
                "a.yaml",
                &policy("v1alpha1", "{name: p, namespace: ns}", spec),
            );

            let found = decoded.objects.security_policies.values().next().unwrap();
            assert!(!found.unreadable_fields.is_empty(), "{spec}");
            assert_eq!(found.spec.targets().refs().count(), 0);
        }
    }

    #[test]
    fn a_malformed_document_that_mentions_a_policy_gives_one_without_targets() {
        let text = policy("v1alpha1", "{name: p, namespace: ns}", "{cors: [}");
        assert_eq!(policies(&text)[0].0, "ns/unnamed (a.yaml:1)");

        let json = r#"{"kind": "SecurityPolicy", "metadata": {"name": "p"}, "spec": {"#;
        assert_eq!(policies(json)[0].0, "default/unnamed (a.yaml:1)");

        assert_eq!(policies("kind: HTTPRoute\nspec: [").len(), 0);
    }

    #[test]
    fn the_second_policy_of_a_name_is_kept_and_closed() {
        let text = policy("v1alpha1", "{name: p, namespace: ns}", SPEC);

        let found = policies(&format!("{text}---\n{text}"));

        assert_eq!(found[0], ("ns/p".to_owned(), Vec::new()));
        assert_eq!(found[1].0, "ns/p (a.yaml:6)");
        assert_eq!(found[1].1, ["metadata.name"]);
    }

    #[test]
    fn an_unsupported_policy_is_an_error_unless_it_is_valid_and_may_fail_open() {
        let process = "backendRefs: [{name: a, port: 80}]";
        let streamed = "processingMode: {request: {body: FullDuplexStreamed}}";
        let wasm = "name: w, code: {type: HTTP, http: {url: 'https://a.test/w'}}";
        let target = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}";
        for (spec, left_out) in [
            (format!("extProc: [{{failOpen: true, {process}}}]"), true),
            (
                format!(
                    "extProc: [{{failOpen: true, {process}}}], wasm: [{{failOpen: true, {wasm}}}]"
                ),
                true,
            ),
            (
                format!("extProc: [{{failOpen: true, {process}}}, {{{process}}}]"),
                false,
            ),
            (format!("extProc: [{{failOpen: 'true', {process}}}]"), false),
            (
                format!("extProc: [{{failOpen: true, {process}, {streamed}}}]"),
                false,
            ),
            ("lua: [{type: Inline, inline: x}]".to_owned(), false),
        ] {
            let text = format!(
                "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyExtensionPolicy\n\
                 metadata: {{name: p, namespace: ns}}\nspec: {{targetRefs: [{target}], {spec}}}\n"
            );

            let decoded = decode("a.yaml", &text);

            let found = decoded.objects.extension_policies.values().next().unwrap();
            assert_eq!(found.unreadable_fields.is_empty(), left_out, "{spec}");
            let mut diagnostics = decoded.diagnostics.iter();
            let diagnostic = diagnostics.find(|one| one.code == FindingCode::UnsupportedKind);
            let is_warning = diagnostic.unwrap().severity == crate::decode::Severity::Warning;
            assert_eq!(is_warning, left_out, "{:?}", decoded.diagnostics);
        }
    }
}
