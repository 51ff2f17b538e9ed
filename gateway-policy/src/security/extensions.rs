//! Annotations of a SecurityPolicy: behaviour for which its spec has no field.
//!
//! | annotation | section | meaning |
//! |---|---|---|
//! | [`BASIC_AUTH_REALM`] | `basicAuth` | realm of the challenge |
//! | [`CORS_ORIGINS`] | `cors` | further allowed origins, compared as text |
//! | [`CORS_RESPONSES`] | `cors` | `every-response`: see [`Cors::every_response`](towergate_core::filter::Cors) |
//! | [`EXT_AUTH_SUBREQUEST`] | `extAuth.http` | [`SubrequestSettings`] as JSON: check requests have the form of nginx |
//! | [`AUTHORIZATION_BEFORE_AUTHENTICATION`] | `authorization` | `true`: it is evaluated before authentication |
//!
//! A policy is invalid, and requests that it covers receive 500, if an annotation has an invalid value,
//! belongs to a section that the policy does not set, or has an unknown name with the prefix
//! `towergate.dev/`.

use std::collections::BTreeMap;

use http::HeaderValue;
use towergate_core::filter::{Cors, OriginText};

use crate::authorization::AuthorizationRules;
use crate::backend_traffic::ANNOTATION_PREFIX;
use crate::ext_auth::{
    AnswerFields, AuthService, HttpAuthService, ServicePath, SubrequestService, SubrequestSettings,
};
use crate::{FieldError, Policy};

/// Annotation of a SecurityPolicy: realm of the challenge of `basicAuth`. Default: the URL of the request.
pub const BASIC_AUTH_REALM: &str = "towergate.dev/basic-auth-realm";

/// Annotation of a SecurityPolicy: the responses to which the fields of `cors` are added. `every-response`:
/// all responses, as in ingress-nginx.
pub const CORS_RESPONSES: &str = "towergate.dev/cors-responses";

/// Annotation of a SecurityPolicy: further allowed origins of `cors`, separated by commas, as [`OriginText`]s.
pub const CORS_ORIGINS: &str = "towergate.dev/cors-origins";

/// Annotation of a SecurityPolicy: the service of `extAuth.http` receives check requests in the form of nginx's
/// `auth_request`, at the path of `pathOverride`. The value is a JSON object, [`SubrequestSettings`].
pub const EXT_AUTH_SUBREQUEST: &str = "towergate.dev/ext-auth-subrequest";

/// Annotation of a SecurityPolicy. `true`: `authorization` is evaluated before authentication, as in nginx.
/// Its rules must then not require a token or the location of the client.
pub const AUTHORIZATION_BEFORE_AUTHENTICATION: &str =
    "towergate.dev/authorization-before-authentication";

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
            CORS_ORIGINS => add_origins(value, policies),
            CORS_RESPONSES => set_cors(value, policies),
            EXT_AUTH_SUBREQUEST => set_subrequest(value, policies),
            AUTHORIZATION_BEFORE_AUTHENTICATION => authorize_early(value, policies),
            _ => Err("no annotation of SecurityPolicies has this name".to_owned()),
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
    cors_of(policies)?.every_response = true;
    Ok(())
}

fn add_origins(value: &str, policies: &mut [Policy]) -> Result<(), String> {
    let origins = value.split(',').map(|text| text.trim().parse());
    let origins: Result<Vec<OriginText>, _> = origins.collect();
    let origins = origins.map_err(|error| error.to_string())?;
    cors_of(policies)?.origin_texts.extend(origins);
    Ok(())
}

fn cors_of(policies: &mut [Policy]) -> Result<&mut Cors, &'static str> {
    let cors = policies.iter_mut().find_map(|policy| match policy {
        Policy::Cors(cors) => Some(cors),
        _ => None,
    });
    cors.ok_or("the policy has no cors")
}

fn set_subrequest(value: &str, policies: &mut [Policy]) -> Result<(), String> {
    let settings: SubrequestSettings =
        serde_json::from_str(value).map_err(|error| error.to_string())?;
    settings.check()?;
    let auth = policies.iter_mut().find_map(|policy| match policy {
        Policy::ExternalAuth(auth) => Some(auth),
        _ => None,
    });
    let auth = auth.ok_or("the policy has no extAuth")?;
    let AuthService::Http(HttpAuthService {
        path: ServicePath::Fixed(path),
        headers_to_backend: AnswerFields::Listed(headers_to_backend),
    }) = &auth.service
    else {
        return Err("extAuth has no http.pathOverride".to_owned());
    };
    auth.service = AuthService::Subrequest(SubrequestService {
        path: path.clone(),
        headers_to_backend: headers_to_backend.clone(),
        settings,
    });
    Ok(())
}

fn authorize_early(value: &str, policies: &mut [Policy]) -> Result<(), String> {
    let early: bool = value
        .parse()
        .map_err(|_| format!("{value:?} is neither true nor false"))?;
    if !early {
        return Ok(());
    }
    let is_early = |rules: &AuthorizationRules| {
        let mut principals = rules.rules.iter().map(|rule| &rule.principal);
        principals.all(|principal| principal.token.is_none() && principal.locations.is_none())
    };
    let rules = policies.iter().find_map(|policy| match policy {
        Policy::Authorization(rules) => Some(rules),
        _ => None,
    });
    let tokens = policies
        .iter()
        .any(|policy| matches!(policy, Policy::Jwt(_)));
    if tokens || !is_early(rules.ok_or("the policy has no authorization")?) {
        return Err("a rule may need a token or the location of the client".to_owned());
    }
    Policy::move_early(policies, |policy| {
        matches!(policy, Policy::Authorization(_))
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use towergate_core::policy::{RoutePolicy, Stage};

    use super::*;
    use crate::authorization::{Access, AccessRule, PrincipalMatch};
    use crate::basic_auth::BasicAuthentication;
    use crate::ext_auth::ExternalAuth;
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
        apply_annotations(
            &annotations(CORS_ORIGINS, "null, https://*.a.test"),
            &mut changed,
        )
        .unwrap();

        let [Policy::Cors(cors), Policy::BasicAuth(users)] = changed else {
            panic!("the policies are in order")
        };
        assert!(cors.every_response);
        assert_eq!(cors.origin_texts.len(), 2);
        assert_eq!(users.realm.as_deref(), Some("Staff"));
    }

    #[test]
    fn an_authorization_by_address_can_precede_authentication() {
        let rules = |principal: PrincipalMatch| AuthorizationRules {
            rules: vec![AccessRule {
                name: "a".to_owned(),
                access: Access::Allow,
                principal,
                operation: Default::default(),
                condition: None,
            }],
            default: Access::Deny,
            databases: Vec::new(),
        };
        let of_location = PrincipalMatch {
            locations: Some(Vec::new()),
            ..Default::default()
        };
        let early = annotations(AUTHORIZATION_BEFORE_AUTHENTICATION, "true");

        let mut moved = [Policy::Authorization(rules(Default::default()))];
        apply_annotations(&early, &mut moved).unwrap();
        let mut kept = [Policy::Authorization(rules(of_location))];

        assert_eq!(moved[0].stage(), Stage::EarlyAuthorization);
        assert!(apply_annotations(&early, &mut kept).is_err());
        assert!(apply_annotations(&early, &mut []).is_err());
    }

    #[test]
    fn a_service_with_a_fixed_path_can_be_asked_as_nginx_does() {
        let asked = |path: ServicePath| {
            let http = HttpAuthService {
                path,
                ..HttpAuthService::default()
            };
            let auth = ExternalAuth::new(AuthService::Http(http), Vec::new());
            let mut all = [Policy::ExternalAuth(auth)];
            let host = annotations(EXT_AUTH_SUBREQUEST, r#"{"host": "auth.test"}"#);
            apply_annotations(&host, &mut all).map(|()| all)
        };

        let [Policy::ExternalAuth(auth)] = asked(ServicePath::fixed("/check").unwrap()).unwrap()
        else {
            panic!("the policy is one of external authorization")
        };
        assert!(
            matches!(auth.service, AuthService::Subrequest(service) if service.path == "/check")
        );
        assert!(asked(ServicePath::default()).is_err());
    }

    #[test]
    fn what_cannot_be_applied_is_an_error() {
        for (name, value, count) in [
            (BASIC_AUTH_REALM, "a\nb", 2),
            (BASIC_AUTH_REALM, "Staff", 1),
            (CORS_RESPONSES, "all", 2),
            (CORS_RESPONSES, "every-response", 0),
            (EXT_AUTH_SUBREQUEST, "{}", 2),
            (EXT_AUTH_SUBREQUEST, r#"{"host": "a", "hots": "b"}"#, 2),
            (EXT_AUTH_SUBREQUEST, r#"{"host": "a"}"#, 2),
            (CORS_ORIGINS, "a.test", 2),
            ("towergate.dev/basic-realm", "Staff", 2),
        ] {
            let mut all = policies();

            let result = apply_annotations(&annotations(name, value), &mut all[..count]);

            assert!(result.is_err(), "{name}: {value}");
        }
        assert!(apply_annotations(&annotations("example.com/a", "b"), &mut []).is_ok());
    }
}
