//! The filter `ExternalAuth` (GEP-1494): a service allows or denies each request of a rule.

use std::sync::Arc;

use http::HeaderName;
use towergate_core::plan::{Backend, Destination, Text, WeightedBackend};
use towergate_policy::ext_auth::{
    self, AnswerFields, AuthService, GrpcAuthService, HttpAuthService, LongerBody, SentBody,
    ServicePath,
};

use crate::api::http_route::{ExternalAuth, ForwardBody, HttpAuth};

/// The filter as a policy, with the resolved backend of its service.
///
/// # Errors
/// A clause without full stop that names the field.
pub(super) fn resolve(
    written: &ExternalAuth,
    backend: Arc<Backend>,
) -> Result<ext_auth::ExternalAuth, String> {
    let (service, allowed) = service(written)?;
    let backend = WeightedBackend {
        weight: 1,
        filters: Vec::new(),
        destination: Destination::Backend(backend),
    };
    let sent = names("allowedHeaders", allowed)?;
    Ok(ext_auth::ExternalAuth {
        // An empty list means the default of the protocol.
        sent_headers: (!sent.is_empty()).then_some(sent),
        body: sent_body(written.forward_body.as_ref())?,
        ..ext_auth::ExternalAuth::new(service, vec![backend])
    })
}

/// Checks the filter without its backend.
///
/// # Errors
/// A clause without full stop that names the field, as for [`resolve`].
pub(super) fn check(written: &ExternalAuth) -> Result<(), String> {
    let (_, allowed) = service(written)?;
    names("allowedHeaders", allowed)?;
    sent_body(written.forward_body.as_ref())?;
    Ok(())
}

/// The service, and the fields that it receives.
fn service(written: &ExternalAuth) -> Result<(AuthService, &[String]), String> {
    match (&*written.protocol, &written.grpc, &written.http) {
        ("GRPC", Some(grpc), None) => {
            let service = AuthService::Grpc(GrpcAuthService::default());
            Ok((service, &grpc.allowed_headers))
        }
        ("HTTP", None, Some(http)) => Ok((
            AuthService::Http(http_service(http)?),
            &http.allowed_headers,
        )),
        ("GRPC", ..) => Err("externalAuth.protocol GRPC requires grpc, and no http".to_owned()),
        ("HTTP", ..) => Err("externalAuth.protocol HTTP requires http, and no grpc".to_owned()),
        (other, ..) => Err(format!(
            "externalAuth.protocol {other:?} is not supported; use HTTP or GRPC"
        )),
    }
}

fn http_service(written: &HttpAuth) -> Result<HttpAuthService, String> {
    let path = ServicePath::prefix(written.path.clone().unwrap_or_default());
    let path = path.map_err(|error| format!("externalAuth.http.path: {error}"))?;
    let field = "allowedResponseHeaders";
    let listed = names(field, &written.allowed_response_headers)?;
    if let Some(kept) = listed.iter().find(|name| !ext_auth::is_editable(name)) {
        let name = kept.as_str();
        return Err(format!(
            "externalAuth.http.{field}: a service must not set {name}"
        ));
    }
    Ok(HttpAuthService {
        path,
        headers_to_backend: match listed.is_empty() {
            true => AnswerFields::All,
            false => AnswerFields::Listed(listed),
        },
    })
}

fn sent_body(written: Option<&ForwardBody>) -> Result<Option<SentBody>, String> {
    let max = written.and_then(|body| body.max_size).unwrap_or(0);
    let max_bytes = usize::try_from(max)
        .map_err(|_| format!("externalAuth.forwardBody.maxSize {max} is negative"))?;
    Ok((max_bytes > 0).then_some(SentBody {
        max_bytes,
        longer: LongerBody::Truncate,
    }))
}

fn names(field: &str, written: &[String]) -> Result<Vec<Text<HeaderName>>, String> {
    let names = written.iter().map(|name| {
        let parsed = HeaderName::from_bytes(name.as_bytes());
        parsed
            .map(Text::from)
            .map_err(|_| format!("{field}: {name:?} is not a header name"))
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use towergate_core::plan::{BackendId, BackendProtocol};

    use super::*;

    fn filter(settings: serde_json::Value) -> ExternalAuth {
        serde_json::from_value(settings).unwrap()
    }

    fn backend() -> Arc<Backend> {
        Arc::new(Backend {
            id: BackendId::service("auth", "checker", 9000),
            protocol: BackendProtocol::Http1,
            tls: None,
            hosts: Vec::new(),
            fallback: false,
            dynamic: None,
        })
    }

    #[test]
    fn grpc_is_spoken_over_http2_whatever_the_port_says() {
        let settings = json!({"protocol": "GRPC", "backendRef": {"name": "a"}, "grpc": {}});

        let policy = resolve(&filter(settings), backend()).unwrap();

        assert_eq!((policy.sent_headers, policy.body), (None, None));
        let Destination::Backend(backend) = &policy.backends[0].destination else {
            panic!("resolved");
        };
        assert_eq!(backend.protocol, BackendProtocol::Http2);
        let AuthService::Grpc(service) = policy.service else {
            panic!("GRPC")
        };
        assert_eq!(service.authority, "checker.auth:9000");
    }

    #[test]
    fn all_fields_of_http_are_converted() {
        let settings = json!({
            "protocol": "HTTP", "backendRef": {"name": "a"}, "forwardBody": {"maxSize": 10},
            "http": {"path": "/check", "allowedHeaders": ["X-A"], "allowedResponseHeaders": ["x-user"]},
        });

        let policy = resolve(&filter(settings), backend()).unwrap();

        assert_eq!(policy.sent_headers.unwrap()[0].as_str(), "x-a");
        assert_eq!(
            policy.body.map(|body| (body.max_bytes, body.longer)),
            Some((10, LongerBody::Truncate))
        );
        let AuthService::Http(service) = policy.service else {
            panic!("HTTP")
        };
        assert_eq!(service.path, ServicePath::Prefix("/check".to_owned()));
        assert!(
            matches!(service.headers_to_backend, AnswerFields::Listed(names) if names.len() == 1)
        );
    }

    #[test]
    fn an_empty_list_of_response_fields_means_all() {
        let settings = json!({"protocol": "HTTP", "backendRef": {"name": "a"}, "http": {}});

        let policy = resolve(&filter(settings), backend()).unwrap();

        let AuthService::Http(service) = policy.service else {
            panic!("HTTP")
        };
        assert_eq!(service.headers_to_backend, AnswerFields::All);
    }

    #[test]
    fn an_invalid_field_is_named() {
        for (settings, field) in [
            (json!({"protocol": "TCP"}), "protocol"),
            (json!({"protocol": "GRPC"}), "protocol"),
            (json!({"protocol": "HTTP", "grpc": {}}), "protocol"),
            (
                json!({"protocol": "HTTP", "http": {"path": "check"}}),
                "http.path",
            ),
            (
                json!({"protocol": "HTTP", "http": {"allowedHeaders": ["a b"]}}),
                "allowedHeaders",
            ),
            (
                json!({"protocol": "HTTP", "http": {"allowedResponseHeaders": ["Host"]}}),
                "allowedResponseHeaders",
            ),
            (
                json!({"protocol": "HTTP", "http": {}, "forwardBody": {"maxSize": -1}}),
                "maxSize",
            ),
        ] {
            let mut settings = settings;
            settings["backendRef"] = json!({"name": "a"});
            let error = check(&filter(settings)).unwrap_err();
            assert!(error.contains(field), "{error}");
        }
    }
}
