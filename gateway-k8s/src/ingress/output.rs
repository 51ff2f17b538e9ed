//! Objects that the translation writes, and their files.
//!
//! There is one file per namespace. The order of objects is fixed, so that equal input gives equal files.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::objects::ObjectKey;
use crate::yaml;

/// An object to write.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputObject {
    /// Kind.
    pub kind: String,
    /// Namespace and name.
    pub key: ObjectKey,
    /// Whole object.
    pub value: Value,
    /// Origin of the object, written as lines of a comment above it.
    pub comments: BTreeSet<String>,
}

/// Objects by kind and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutputObjects {
    objects: BTreeMap<(usize, ObjectKey), OutputObject>,
}

/// Order of kinds in a file. A kind precedes the kinds that refer to it.
const ORDER: [&str; 21] = [
    "Namespace",
    "GatewayClass",
    "Gateway",
    "ListenerSet",
    "ClientTrafficPolicy",
    "Issuer",
    "ClusterIssuer",
    "Certificate",
    "ReferenceGrant",
    "Secret",
    "ConfigMap",
    "Backend",
    "BackendTLSPolicy",
    "HTTPRouteFilter",
    "HTTPRoute",
    "GRPCRoute",
    "TLSRoute",
    "TCPRoute",
    "UDPRoute",
    "BackendTrafficPolicy",
    "SecurityPolicy",
];

/// `apiVersion` of a kind.
fn api_version(kind: &str) -> &'static str {
    match kind {
        "Namespace" | "Secret" | "ConfigMap" => "v1",
        "Issuer" | "ClusterIssuer" | "Certificate" => "cert-manager.io/v1",
        "ReferenceGrant" => "gateway.networking.k8s.io/v1beta1",
        "TCPRoute" | "UDPRoute" => "gateway.networking.k8s.io/v1alpha2",
        "ClientTrafficPolicy"
        | "BackendTrafficPolicy"
        | "SecurityPolicy"
        | "Backend"
        | "HTTPRouteFilter" => "gateway.envoyproxy.io/v1alpha1",
        _ => "gateway.networking.k8s.io/v1",
    }
}

impl OutputObjects {
    /// Adds an object with a `spec`. An object of the same kind and name is replaced; its comments are kept.
    pub(crate) fn add(
        &mut self,
        kind: &str,
        key: &ObjectKey,
        spec: Value,
        comments: &BTreeSet<String>,
    ) {
        let value = json!({
            "apiVersion": api_version(kind),
            "kind": kind,
            "metadata": metadata(key),
            "spec": spec,
        });
        self.add_value(kind, key, value, comments);
    }

    /// Adds a whole object.
    pub(crate) fn add_value(
        &mut self,
        kind: &str,
        key: &ObjectKey,
        value: Value,
        comments: &BTreeSet<String>,
    ) {
        let rank = ORDER.iter().position(|known| *known == kind);
        let at = (rank.unwrap_or(ORDER.len()), key.clone());
        let object = self.objects.entry(at).or_insert_with(|| OutputObject {
            kind: kind.to_owned(),
            key: key.clone(),
            value: Value::Null,
            comments: BTreeSet::new(),
        });
        object.value = value;
        object.comments.extend(comments.iter().cloned());
    }

    /// The object with a kind and a name.
    pub(crate) fn find(&self, kind: &str, key: &ObjectKey) -> Option<&OutputObject> {
        let rank = ORDER.iter().position(|known| *known == kind);
        self.objects
            .get(&(rank.unwrap_or(ORDER.len()), key.clone()))
    }

    /// Sets an annotation of an object.
    pub(crate) fn annotate(&mut self, kind: &str, key: &ObjectKey, name: &str, value: &str) {
        let rank = ORDER.iter().position(|known| *known == kind);
        let at = (rank.unwrap_or(ORDER.len()), key.clone());
        if let Some(object) = self.objects.get_mut(&at) {
            object.value["metadata"]["annotations"][name] = value.into();
        }
    }

    /// An unused name for an object of `kind`: `name`, or `name` with a number.
    pub(crate) fn free_name(&self, kind: &str, namespace: &str, name: &str) -> ObjectKey {
        let rank = ORDER
            .iter()
            .position(|known| *known == kind)
            .unwrap_or(ORDER.len());
        let mut names = (1..).map(|number| match number {
            1 => ObjectKey::new(namespace, name),
            _ => ObjectKey::new(namespace, format!("{name}-{number}")),
        });
        let free = |key: &ObjectKey| !self.objects.contains_key(&(rank, key.clone()));
        names.find(free).unwrap_or_default()
    }

    /// All objects in the order of kinds and names.
    pub fn iter(&self) -> impl Iterator<Item = &OutputObject> {
        self.objects.values()
    }

    /// Files by name, one per namespace.
    pub fn files(&self) -> BTreeMap<String, String> {
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for object in self.iter() {
            let namespace = match object.kind.as_str() {
                "Namespace" => &object.key.name,
                _ => &object.key.namespace,
            };
            let name = match namespace.as_str() {
                "" => "cluster.yaml".to_owned(),
                namespace => format!("{namespace}.yaml"),
            };
            let text = files.entry(name).or_default();
            if !text.is_empty() {
                text.push_str("---\n");
            }
            text.push_str(&document(object));
        }
        files
    }
}

fn metadata(key: &ObjectKey) -> Value {
    match key.namespace.as_str() {
        "" => json!({"name": key.name}),
        namespace => json!({"name": key.name, "namespace": namespace}),
    }
}

fn document(object: &OutputObject) -> String {
    let mut text = String::new();
    for comment in &object.comments {
        // A line break would end the comment.
        let line: String = comment
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        text.push_str(&format!("# {line}\n"));
    }
    text.push_str(&yaml::write(&object.value));
    text
}
