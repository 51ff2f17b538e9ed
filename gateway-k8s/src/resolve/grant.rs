//! ReferenceGrants: permitted references into other namespaces.

use std::collections::HashMap;

use crate::api::reference_grant::ReferenceGrantSpec;
use crate::objects::Store;

/// The referencing object.
#[derive(Clone, Copy, Debug)]
pub(super) struct From<'a> {
    pub(super) group: &'a str,
    pub(super) kind: &'a str,
    pub(super) namespace: &'a str,
}

/// The referenced object.
#[derive(Clone, Copy, Debug)]
pub(super) struct To<'a> {
    pub(super) group: &'a str,
    pub(super) kind: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

/// All grants, by namespace.
#[derive(Debug)]
pub(super) struct Grants<'a>(HashMap<&'a str, Vec<&'a ReferenceGrantSpec>>);

impl<'a> Grants<'a> {
    /// Indexes grants.
    pub(super) fn new(grants: &'a Store<ReferenceGrantSpec>) -> Self {
        let mut by_namespace: HashMap<_, Vec<_>> = HashMap::new();
        // A grant with an unknown field permits nothing: the field may be a misspelt name that restricts the
        // grant.
        for grant in grants
            .values()
            .filter(|grant| grant.unreadable_fields.is_empty())
        {
            let namespace = grant.meta.namespace.as_str();
            by_namespace.entry(namespace).or_default().push(&grant.spec);
        }
        Self(by_namespace)
    }

    /// Whether a reference is permitted. References within a namespace are always permitted. References to
    /// another namespace require a grant in the target's namespace that names the referencing and the
    /// referenced object.
    pub(super) fn permit(&self, from: From<'_>, to: To<'_>) -> bool {
        if from.namespace == to.namespace {
            return true;
        }
        let grants = self.0.get(to.namespace).into_iter().flatten();
        grants
            .filter(|grant| {
                grant.from.iter().any(|granted| {
                    (&*granted.group, &*granted.kind, &*granted.namespace)
                        == (from.group, from.kind, from.namespace)
                })
            })
            .any(|grant| {
                grant.to.iter().any(|granted| {
                    let name = granted.name.as_deref().unwrap_or_default();
                    (&*granted.group, &*granted.kind) == (to.group, to.kind)
                        && (name.is_empty() || name == to.name)
                })
            })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::objects::{Object, ObjectKey, Origin};

    fn grants(spec: serde_json::Value) -> Store<ReferenceGrantSpec> {
        let meta = serde_json::from_value(json!({ "name": "grant", "namespace": "backends" }));
        let grant = Object {
            api_version: "gateway.networking.k8s.io/v1beta1".to_owned(),
            meta: meta.unwrap(),
            spec: serde_json::from_value(spec).unwrap(),
            unreadable_fields: Vec::new(),
            origin: Origin::default(),
        };
        [(ObjectKey::new("backends", "grant"), grant)].into()
    }

    fn permitted(
        store: &Store<ReferenceGrantSpec>,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> bool {
        let group = "gateway.networking.k8s.io";
        Grants::new(store).permit(
            From {
                group,
                kind,
                namespace,
            },
            To {
                group: "",
                kind: "Service",
                namespace: "backends",
                name,
            },
        )
    }

    #[test]
    fn a_grant_applies_only_if_both_sides_match() {
        let store = grants(json!({
            "from": [{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "apps" }],
            "to": [{ "group": "", "kind": "Service", "name": "web" }],
        }));

        assert!(permitted(&store, "HTTPRoute", "apps", "web"));
        assert!(!permitted(&store, "GRPCRoute", "apps", "web"));
        assert!(!permitted(&store, "HTTPRoute", "other", "web"));
        assert!(!permitted(&store, "HTTPRoute", "apps", "db"));
    }

    #[test]
    fn a_grant_without_a_name_covers_every_object_of_the_kind() {
        let store = grants(json!({
            "from": [{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "apps" }],
            "to": [{ "group": "", "kind": "Service" }, { "group": "", "kind": "Secret", "name": "x" }],
        }));

        assert!(permitted(&store, "HTTPRoute", "apps", "anything"));
    }

    #[test]
    fn a_grant_with_an_unknown_field_permits_nothing() {
        let mut store = grants(json!({
            "from": [{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "apps" }],
            "to": [{ "group": "", "kind": "Service" }],
        }));
        for grant in store.values_mut() {
            grant
                .unreadable_fields
                .push(towergate_policy::SchemaViolation {
                    field: "spec.to[0].nmae".to_owned(),
                    message: "the field is not known".to_owned(),
                });
        }

        assert!(!permitted(&store, "HTTPRoute", "apps", "web"));
    }

    #[test]
    fn references_within_a_namespace_need_no_grant() {
        assert!(permitted(&Store::new(), "HTTPRoute", "backends", "web"));
    }
}
