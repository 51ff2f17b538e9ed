//! Validation of `metadata`: name and namespace.

use super::kind::{Kind, KindId};
use crate::api::meta::ObjectMeta;
use crate::finding::FindingCode;
use crate::object_name::{is_label, is_subdomain};

/// Known fields of `metadata` that the gateway does not use.
pub(crate) const UNREAD: [&str; 6] = [
    "deletionGracePeriodSeconds",
    "finalizers",
    "generateName",
    "managedFields",
    "ownerReferences",
    "selfLink",
];

/// A violation of the rules for `metadata`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Breach {
    /// Finding code.
    pub(crate) code: FindingCode,
    /// Path of the field.
    pub(crate) field: &'static str,
    /// Message.
    pub(crate) message: String,
    /// Advice.
    pub(crate) help: &'static str,
}

/// Validates `meta` and sets defaults: namespace `default` for namespaced kinds, no namespace for
/// cluster-scoped kinds, generation 1.
///
/// # Errors
/// If the name is missing, or if the name or namespace is invalid.
pub(crate) fn check(kind: &Kind, meta: &mut ObjectMeta) -> Result<(), Breach> {
    if meta.name.is_empty() {
        return Err(Breach {
            code: FindingCode::MissingName,
            field: "metadata",
            message: "the object has no name".to_owned(),
            help: "set `metadata.name`",
        });
    }
    let label = matches!(kind.id, KindId::Namespace | KindId::Service);
    if !(if label {
        is_label(&meta.name)
    } else {
        is_subdomain(&meta.name)
    }) {
        return Err(Breach {
            code: FindingCode::InvalidName,
            field: "metadata.name",
            message: format!("`{}` is not a valid name of a Kubernetes object", meta.name),
            help: match meta.name.contains("{{") {
                true => {
                    "this looks like a template of Helm: render the chart with `helm template`, and pass the result"
                }
                false => {
                    "use lower-case letters, digits and `-`; begin and end with a letter or digit"
                }
            },
        });
    }
    if meta.generation == 0 {
        meta.generation = 1;
    }
    if !kind.namespaced {
        meta.namespace.clear();
        return Ok(());
    }
    if meta.namespace.is_empty() {
        meta.namespace.push_str("default");
    }
    if !is_label(&meta.namespace) {
        return Err(Breach {
            code: FindingCode::InvalidName,
            field: "metadata.namespace",
            message: format!("`{}` is not a valid namespace name", meta.namespace),
            help: "use lower-case letters, digits and `-`, at most 63 in all",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::kind::{Verdict, find};

    fn kind(api: &str, name: &str) -> Kind {
        match find(api, name) {
            Verdict::Read(kind) => kind,
            other => panic!("{other:?}"),
        }
    }

    fn meta(namespace: &str, name: &str) -> ObjectMeta {
        ObjectMeta {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn names_are_those_that_kubernetes_accepts() {
        let secret = kind("v1", "Secret");
        let service = kind("v1", "Service");
        for (kind, name, code) in [
            (secret, "a", None),
            (secret, "a.b-c.9", None),
            (secret, "", Some(FindingCode::MissingName)),
            (secret, "A", Some(FindingCode::InvalidName)),
            (secret, "a..b", Some(FindingCode::InvalidName)),
            (secret, "-a", Some(FindingCode::InvalidName)),
            (secret, "a_b", Some(FindingCode::InvalidName)),
            (service, "a.b", Some(FindingCode::InvalidName)),
            (service, "a-b", None),
        ] {
            let result = check(&kind, &mut meta("ns", name));

            assert_eq!(result.err().map(|b| b.code), code, "{name}");
        }
        assert!(check(&secret, &mut meta("ns", &"a".repeat(253))).is_ok());
        assert!(check(&secret, &mut meta("ns", &"a".repeat(254))).is_err());
        assert!(check(&secret, &mut meta("a.b", "a")).is_err());
    }

    #[test]
    fn the_namespace_defaults_to_default_and_is_empty_for_cluster_scoped_kinds() {
        let mut secret = meta("", "a");
        let mut namespace = meta("x", "a");

        check(&kind("v1", "Secret"), &mut secret).expect("it is fine");
        check(&kind("v1", "Namespace"), &mut namespace).expect("it is fine");

        assert_eq!(secret.generation, 1);
        assert_eq!(secret.namespace, "default");
        assert_eq!(namespace.namespace, "");
    }
}
