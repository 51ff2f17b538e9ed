//! Error pages, and a backend for Services without endpoints.

use super::AnnotationReader;
use crate::ingress::controller::ControllerConfig;
use crate::ingress::input::Manifests;
use crate::ingress::value::{boolean, list};
use crate::ingress::verdict::{Aspect, Finding};
use crate::objects::ObjectKey;

const PAGES: &[Aspect] = &[
    Aspect::Status,
    Aspect::Body,
    Aspect::Calls,
    Aspect::ResponseHeaders,
];

pub(super) fn read(reader: &mut AnnotationReader<'_>) {
    let own = reader.text("default-backend").map(str::trim);
    let configured = reader.config.flag("default-backend-service");
    let service = own.or(configured).map(str::to_owned);
    match reader.text("custom-http-errors").map(statuses) {
        Some(Some(codes)) => {
            let finding = pages(&codes, service.as_deref());
            reader.settings.error_codes = codes;
            reader.found("custom-http-errors", finding);
        }
        Some(None) => reader.invalid("custom-http-errors", "the value is not a list of statuses"),
        None => {}
    }
    if let Some(service) = own {
        default_backend(reader, service);
    }
}

/// `default-backend`: the Service that receives the requests while the Service of the path has no endpoints.
fn default_backend(reader: &mut AnnotationReader<'_>, service: &str) {
    let key = ObjectKey::new(&*reader.ingress.key.namespace, service);
    let complete = !reader.manifests.endpoint_owners.is_empty();
    let known = reader.manifests.services.get(&key);
    let upstream = reader.text("service-upstream").map(str::trim);
    let upstream = upstream.or_else(|| reader.config.text("service-upstream"));
    let finding = if upstream.and_then(boolean) == Some(true) {
        Finding::same(
            "no effect, in ingress-nginx and in the gateway: with `service-upstream`, ingress-nginx does not check whether the Service has endpoints",
        )
    } else if known.is_none() && complete || known.is_some_and(|known| known.ports.is_empty()) {
        Finding::same(format!(
            "Service `{service}` does not exist or has no port; ingress-nginx ignores the Service, and so does the translation"
        ))
    } else {
        reader.settings.default_backend = Some(service.to_owned());
        match known {
            Some(_) => Finding::same(
                "a Backend with `fallback: true`: it receives the requests while the Service of the path has no ready endpoints, with `X-Code: 503` and the other header fields of ingress-nginx",
            ),
            None => Finding::decision(
                format!(
                    "a Backend with `fallback: true`. The files do not contain Service `{service}`; port 80 is used: set the port number"
                ),
                PAGES,
            ),
        }
    };
    reader.found("default-backend", finding);
}

/// Parses a list of error statuses. `None`: the text is not such a list.
pub(crate) fn statuses(text: &str) -> Option<Vec<u16>> {
    let codes: Option<Vec<u16>> = list(text).iter().map(|code| code.parse().ok()).collect();
    codes.filter(|codes| codes.iter().all(|code| (400..600).contains(code)))
}

/// The verdict on error responses that ingress-nginx replaces by a page of `service`. `None`: by a page of
/// its own.
pub(crate) fn pages(codes: &[u16], service: Option<&str>) -> Finding {
    let Some(service) = service else {
        return Finding::differs(
            "without `default-backend` and `--default-backend-service`, ingress-nginx replaces the content by a page of its own; from the gateway, the client receives the content of the backend",
            PAGES,
        );
    };
    let codes: Vec<String> = codes
        .iter()
        .map(|code| format!("{{type: Value, value: {code}}}"))
        .collect();
    Finding::impossible(
        format!(
            "an error response of a backend cannot be replaced by a response of Service `{service}`: the client receives the response of the backend. Write each page into a ConfigMap and refer to it in a BackendTrafficPolicy of the route: `responseOverride: [{{match: {{statusCodes: [{}]}}, response: {{contentType: text/html, body: {{type: ValueRef, valueRef: {{group: \"\", kind: ConfigMap, name: error-page}}}}}}}}]`",
            codes.join(", ")
        ),
        PAGES,
    )
}

/// Statuses of `custom-http-errors` of the ConfigMap that ingress-nginx turns into 500, because no Service
/// returns a page. Empty: no statuses.
pub(crate) fn statuses_without_page(config: &ControllerConfig, manifests: &Manifests) -> Vec<u16> {
    let annotated = manifests.ingresses.iter().any(|ingress| {
        let mut names = ingress.annotations.keys();
        names.any(|name| {
            let name = name.strip_prefix(config.prefix()).unwrap_or_default();
            matches!(name, "/custom-http-errors" | "/default-backend")
        })
    });
    if annotated || config.flag("default-backend-service").is_some() {
        return Vec::new();
    }
    let codes = config.text("custom-http-errors").and_then(statuses);
    codes.unwrap_or_default()
}
