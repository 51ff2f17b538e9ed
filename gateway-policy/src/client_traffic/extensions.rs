//! Annotations of a ClientTrafficPolicy: behaviour for which its spec has no field.
//!
//! | annotation | meaning |
//! |---|---|
//! | [`ROUTE_MATCHING`] | `ingress-nginx`: routes are matched as in ingress-nginx |
//!
//! A policy is invalid, and requests of its listeners receive 500, if an annotation has an invalid value, or
//! an unknown name with the prefix `towergate.dev/`.

use std::collections::BTreeMap;

use towergate_core::plan::{EscapedSlashes, ListenerSettings};

use super::ListenerConfig;
use crate::FieldError;
use crate::backend_traffic::ANNOTATION_PREFIX;

/// Annotation of a ClientTrafficPolicy. `ingress-nginx`: rules are compared with the decoded path
/// ([`ListenerSettings::decoded_paths`]), and 404 is returned if no rule of the most specific hostname matches
/// ([`ListenerSettings::strict_host`]). Escaped slashes must be decoded (`path.escapedSlashesAction:
/// UnescapeAndForward`) and consecutive slashes merged.
pub const ROUTE_MATCHING: &str = "towergate.dev/route-matching";

/// Applies the annotations of a ClientTrafficPolicy to its converted spec.
///
/// # Errors
/// An annotation is unknown or invalid, or the spec does not permit it.
pub fn apply_annotations(
    annotations: &BTreeMap<String, String>,
    config: &mut ListenerConfig,
) -> Result<(), FieldError> {
    let extensions = annotations
        .iter()
        .filter(|(name, _)| name.starts_with(ANNOTATION_PREFIX));
    for (name, value) in extensions {
        let applied = match name.as_str() {
            ROUTE_MATCHING => match_as(value, &mut config.settings),
            _ => Err("no annotation of ClientTrafficPolicies has this name".to_owned()),
        };
        applied.map_err(|reason| {
            FieldError::invalid("metadata.annotations", format_args!("{name}: {reason}"))
        })?;
    }
    Ok(())
}

fn match_as(value: &str, settings: &mut ListenerSettings) -> Result<(), String> {
    if value != "ingress-nginx" {
        return Err(format!("{value:?} is unknown; use ingress-nginx"));
    }
    let path = &settings.path;
    if path.escaped_slashes != EscapedSlashes::UnescapeAndForward || !path.merge_slashes {
        return Err(
            "the annotation requires path.escapedSlashesAction: UnescapeAndForward, and merged slashes"
                .to_owned(),
        );
    }
    settings.decoded_paths = true;
    settings.strict_host = true;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClientTrafficPolicySpec;
    use crate::client_traffic::ListenerContext;

    fn applied(spec: &str, name: &str, value: &str) -> Result<ListenerSettings, FieldError> {
        let spec: ClientTrafficPolicySpec = serde_json::from_str(spec).unwrap();
        let mut config = spec.listener_settings(ListenerContext::default()).unwrap();
        let annotations = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        apply_annotations(&annotations, &mut config)?;
        Ok(config.settings)
    }

    #[test]
    fn routes_are_matched_as_in_ingress_nginx() {
        let spec = r#"{"path": {"escapedSlashesAction": "UnescapeAndForward"}}"#;

        let settings = applied(spec, ROUTE_MATCHING, "ingress-nginx").unwrap();

        assert!(settings.decoded_paths && settings.strict_host);
    }

    #[test]
    fn an_invalid_annotation_makes_the_policy_invalid() {
        let spec = r#"{"path": {"escapedSlashesAction": "UnescapeAndForward"}}"#;
        for (spec, name, value) in [
            (spec, ROUTE_MATCHING, "nginx"),
            (spec, "towergate.dev/route-match", "ingress-nginx"),
            ("{}", ROUTE_MATCHING, "ingress-nginx"),
        ] {
            assert!(applied(spec, name, value).is_err(), "{spec} {name}");
        }
        assert!(applied("{}", "example.com/a", "b").is_ok());
    }
}
