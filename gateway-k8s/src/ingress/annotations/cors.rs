//! CORS.

use towergate_core::filter::OriginText;

use super::AnnotationReader;
use crate::ingress::settings::CorsSettings;
use crate::ingress::value::list;
use crate::ingress::verdict::{Aspect, Finding};

/// Default of `cors-allow-methods` in ingress-nginx.
const METHODS: &str = "GET, PUT, POST, DELETE, PATCH, OPTIONS";
const HEADERS: &str = "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization";
const MAX_AGE: u64 = 1_728_000;

const RESPONSE: &[Aspect] = &[
    Aspect::Status,
    Aspect::ResponseHeaders,
    Aspect::Calls,
    Aspect::Body,
];

pub(super) fn read(reader: &mut AnnotationReader<'_>) {
    if reader.bool("enable-cors") != Some(true) {
        return;
    }
    let text = "SecurityPolicy `cors` with the annotation `towergate.dev/cors-responses`. Over plain HTTP, a host that redirects to HTTPS redirects preflights as well; ingress-nginx returns 204 for them";
    reader.found("enable-cors", Finding::differs(text, RESPONSE));
    let origins = origins(reader);
    let methods = tokens(reader, "cors-allow-methods", METHODS);
    let headers = tokens(reader, "cors-allow-headers", HEADERS);
    let expose = tokens(reader, "cors-expose-headers", "");
    let credentials = reader.bool("cors-allow-credentials").unwrap_or(true);
    let max_age = reader.number("cors-max-age").unwrap_or(MAX_AGE);
    reader.settings.cors = Some(CorsSettings {
        origins,
        methods,
        headers,
        expose,
        credentials,
        max_age,
    });
}

fn origins(reader: &mut AnnotationReader<'_>) -> Vec<String> {
    let Some(text) = reader.text("cors-allow-origin") else {
        return vec!["*".to_owned()];
    };
    let written = list(text);
    if written.iter().any(|origin| origin == "*") {
        return vec!["*".to_owned()];
    }
    let valid = |origin: &String| origin.parse::<OriginText>().is_ok();
    let (valid, invalid): (Vec<_>, Vec<_>) = written.into_iter().partition(valid);
    if valid.is_empty() {
        reader.invalid(
            "cors-allow-origin",
            "none of its origins is valid; all origins are allowed",
        );
        return vec!["*".to_owned()];
    }
    if !invalid.is_empty() {
        let text = format!(
            "invalid origins are ignored, as in ingress-nginx: {}",
            invalid.join(", ")
        );
        reader.found("cors-allow-origin", Finding::same(text));
    }
    valid
}

/// The list of tokens in the annotation `name`, or `default` if the annotation is absent or invalid. If the
/// list has other separators than `, `, it becomes a single entry, so that responses contain it unchanged.
fn tokens(reader: &mut AnnotationReader<'_>, name: &'static str, default: &str) -> Vec<String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_, *".contains(&b);
    let text = match reader.text(name).map(str::trim) {
        None => default,
        Some(text) if text.bytes().all(allowed) => text,
        Some(_) => {
            reader.invalid(name, "the value is not a list of names");
            default
        }
    };
    let names = list(text);
    match names.join(", ") == text {
        true => names,
        false => vec![text.to_owned()],
    }
}
