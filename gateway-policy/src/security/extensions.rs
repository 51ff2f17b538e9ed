//! Annotations of a SecurityPolicy: behaviour for which its spec has no field.
//!
//! | annotation | section | meaning |
//! |---|---|---|
//! | [`BASIC_AUTH_REALM`] | `basicAuth` | realm of the challenge |
//! | [`CORS_RESPONSES`] | `cors` | `every-response`: see [`Cors::every_response`](towergate_core::filter::Cors) |
//!
//! An annotation with an invalid value, without its section, or with an unknown name under the
//! prefix makes the policy invalid: requests that it covers receive 500.

use std::collections::BTreeMap;

use http::HeaderValue;

use crate::backend_traffic::ANNOTATION_PREFIX;
use crate::{FieldError, Policy};

/// Annotation of a SecurityPolicy: realm of the challenge of `basicAuth`. Default: the URL of the request.
pub const BASIC_AUTH_REALM: &str = "towergate.dev/basic-auth-realm";

/// Annotation of a SecurityPolicy: the responses with `cors` fields. `every-response`: all
/// responses, as in ingress-nginx.
pub const CORS_RESPONSES: &str = "towergate.dev/cors-responses";

/// Applies the annotations of a SecurityPolicy to its converted sections.
///
/// # Errors
/// An annotation is unknown, invalid, or belongs to a section that the policy does not have.
pub fn apply_annotations(
    annotations: &BTreeMap<String, String>,
    policies: &mut [Policy],
) -> Result<(), FieldError> {
    let extensions = annotations
        .iter()
        .filter(|(name, _)| name.starts_with(ANNOTATION_PREFIX));
    for (name, value) in extensions {
        let applied = match name.as_str() {
            BASIC_AUTH_REALM => set_realm(value, policies),
            CORS_RESPONSES => set_cors(value, policies),
            _ => Err("it is not an annotation of SecurityPolicies".to_owned()),
        };
        applied.map_err(|reason| {
            FieldError::invalid("metadata.annotations", format_args!("{name}: {reason}"))
        })?;
    }
    Ok(())
}

fn set_realm(realm: &str, policies: &mut [Policy]) -> Result<(), String> {
    if HeaderValue::from_str(realm).is_err() {
        return Err(format!("{realm:?} cannot be part of a header field"));
    }
    let users = policies.iter_mut().find_map(|policy| match policy {
        Policy::BasicAuth(users) => Some(users),
        _ => None,
    });
    users.ok_or("the policy has no basicAuth")?.realm = Some(realm.to_owned());
    Ok(())
}

fn set_cors(value: &str, policies: &mut [Policy]) -> Result<(), String> {
    if value != "every-response" {
        return Err(format!("{value:?} is unknown; use every-response"));
    }
    let cors = policies.iter_mut().find_map(|policy| match policy {
        Policy::Cors(cors) => Some(cors),
        _ => None,
    });
    cors.ok_or("the policy has no cors")?.every_response = true;
    Ok(())
}

#[cfg(test)]
mod tests {
    use towergate_core::filter::Cors;

    use super::*;
    use crate::basic_auth::BasicAuthentication;
    use crate::secret::SecretText;

    fn policies() -> [Policy; 2] {
        let users = BasicAuthentication {
            users: SecretText::new("ada:{SHA}nU4eI71bcnBGqeO0t9tXvY1u5oQ="),
            forward_user_name: None,
            realm: None,
        };
        [Policy::Cors(Cors::default()), Policy::BasicAuth(users)]
    }

    fn annotations(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn an_annotation_changes_its_section() {
        let mut changed = policies();

        apply_annotations(&annotations(BASIC_AUTH_REALM, "Staff"), &mut changed).unwrap();
        apply_annotations(&annotations(CORS_RESPONSES, "every-response"), &mut changed).unwrap();

        let [Policy::Cors(cors), Policy::BasicAuth(users)] = changed else {
            panic!("the policies are in order")
        };
        assert!(cors.every_response);
        assert_eq!(users.realm.as_deref(), Some("Staff"));
    }

    #[test]
    fn what_cannot_be_applied_is_an_error() {
        for (name, value, count) in [
            (BASIC_AUTH_REALM, "a\nb", 2),
            (BASIC_AUTH_REALM, "Staff", 1),
            (CORS_RESPONSES, "all", 2),
            (CORS_RESPONSES, "every-response", 0),
            ("towergate.dev/basic-realm", "Staff", 2),
        ] {
            let mut all = policies();

            let result = apply_annotations(&annotations(name, value), &mut all[..count]);

            assert!(result.is_err(), "{name}: {value}");
        }
        assert!(apply_annotations(&annotations("example.com/a", "b"), &mut []).is_ok());
    }
}
