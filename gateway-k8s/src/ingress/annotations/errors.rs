//! Error pages, and a backend for Services without endpoints.

use super::AnnotationReader;
use crate::ingress::value::list;
use crate::ingress::verdict::{Aspect, Finding};

const PAGES: &[Aspect] = &[
    Aspect::Status,
    Aspect::Body,
    Aspect::Calls,
    Aspect::ResponseHeaders,
];

pub(super) fn read(reader: &mut AnnotationReader<'_>) {
    let own = reader.text("custom-http-errors").map(list);
    let parse = |codes: Vec<String>| -> Option<Vec<u16>> {
        let codes = codes.iter().map(|code| code.parse().ok());
        let codes: Option<Vec<u16>> = codes.collect();
        codes.filter(|codes| codes.iter().all(|code| (400..600).contains(code)))
    };
    match own.map(parse) {
        Some(Some(codes)) => {
            reader.settings.error_codes = codes;
            let text = "a response with one of these statuses cannot be replaced by the page of a Service: the client gets the backend's own. For fixed pages, write `responseOverride` with a ConfigMap into the BackendTrafficPolicy";
            reader.found("custom-http-errors", Finding::impossible(text, PAGES));
        }
        Some(None) => reader.invalid("custom-http-errors", "it is not a list of statuses"),
        None => {}
    }
    if let Some(service) = reader.text("default-backend").map(str::trim) {
        reader.settings.default_backend = Some(service.to_owned());
        let text =
            "a Service without endpoints answers 503: requests do not fall back to another Service";
        reader.found("default-backend", Finding::impossible(text, PAGES));
    }
}
