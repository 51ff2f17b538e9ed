//! Canaries: Ingresses whose backend receives a part of another Ingress's requests.

use super::AnnotationReader;
use crate::ingress::settings::Canary;
use crate::ingress::verdict::{Aspect, Finding};

pub(super) fn read(reader: &mut AnnotationReader<'_>) {
    if reader.bool("canary") != Some(true) {
        return;
    }
    let token = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let mut name = |annotation: &'static str| {
        let text = reader.text(annotation)?.trim();
        if token(text) {
            return Some(text.to_owned());
        }
        reader.invalid(annotation, "the value is not a valid name");
        None
    };
    let mut header = name("canary-by-header");
    let cookie = name("canary-by-cookie");
    let value = reader.text("canary-by-header-value").map(str::to_owned);
    let pattern = reader.text("canary-by-header-pattern");
    let pattern = pattern.filter(|_| value.is_none()).and_then(|pattern| {
        let valid = regex::Regex::new(pattern).is_ok();
        if !valid {
            reader.invalid(
                "canary-by-header-pattern",
                "the value is not a regular expression that the gateway supports",
            );
        }
        valid.then(|| pattern.to_owned())
    });
    if reader.has("canary-by-header-pattern") && value.is_none() && pattern.is_none() {
        // No header value matches, so the canary has no condition on the header.
        header = None;
    }
    let total = reader.number("canary-weight-total").unwrap_or(100).max(100);
    let weight = reader.number("canary-weight").unwrap_or(0).min(total);
    if cookie.is_some() {
        let text = "a match of the `Cookie` field by regular expression: `always` and `never`";
        reader.found("canary-by-cookie", Finding::same(text));
    }
    let text = "the canary's own annotations have no effect, in ingress-nginx and in the gateway, except `auth-tls-*` and `proxy-ssl-*`, which apply to the whole host. A canary without ready endpoints returns 503, where ingress-nginx falls back to the main backend";
    reader.found(
        "canary",
        Finding::differs(
            text,
            &[
                Aspect::Status,
                Aspect::Calls,
                Aspect::Body,
                Aspect::ResponseHeaders,
            ],
        ),
    );
    reader.settings.canary = Some(Canary {
        weight,
        total,
        header,
        value,
        pattern,
        cookie,
    });
}
