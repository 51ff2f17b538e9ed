//! Timeouts, retries, and sizes of bodies.

use super::AnnotationReader;
use crate::ingress::value::size;
use crate::ingress::verdict::{Aspect, Finding};

const SERVED: &[Aspect] = &[
    Aspect::Status,
    Aspect::Body,
    Aspect::Calls,
    Aspect::ResponseHeaders,
];

pub(super) fn read(reader: &mut AnnotationReader<'_>) {
    timeouts(reader);
    retries(reader);
    bodies(reader);
}

fn timeouts(reader: &mut AnnotationReader<'_>) {
    reader.settings.proxy.connect_timeout = reader.number("proxy-connect-timeout");
    let read = reader.number("proxy-read-timeout");
    let send = reader.number("proxy-send-timeout");
    reader.settings.proxy.idle_timeout = read.max(send);
    for (name, value) in [("proxy-read-timeout", read), ("proxy-send-timeout", send)] {
        if value.is_some() {
            reader.found(name, idle_timeout());
        }
    }
}

/// The verdict on `proxy-read-timeout` and `proxy-send-timeout`.
pub(crate) fn idle_timeout() -> Finding {
    let text = "`streamIdleTimeout`: the time without a byte in either direction; nginx has one timeout for each direction. It covers the whole request with its retries; in ingress-nginx each try has its own timeout, so 504 can be returned after up to three times as long";
    Finding::differs(text, SERVED)
}

/// The verdict on `proxy-next-upstream-tries`.
pub(crate) fn tries(number: u64) -> Finding {
    match number {
        0 => Finding::differs(
            "`retry.numRetries: 10`; 0 means no limit in ingress-nginx",
            &[Aspect::Status, Aspect::Calls],
        ),
        _ => Finding::same("`retry.numRetries`: the number of tries minus one"),
    }
}

/// The verdict on `proxy-next-upstream`.
pub(crate) fn next_upstream(words: &[String]) -> Finding {
    if words.iter().any(|word| word == "off") {
        return Finding::same("`retry.numRetries: 0`");
    }
    let text = "`retry.retryOn`. Requests that no endpoint has received are retried regardless of their method; after that, retries by status apply to every method; nginx retries only idempotent methods";
    Finding::differs(text, &[Aspect::Status, Aspect::Calls])
}

/// The verdict on `proxy-request-buffering`.
pub(crate) fn request_buffering(is_off: bool) -> Finding {
    if is_off {
        return Finding::same("bodies are streamed to the backend");
    }
    let text =
        "bodies are streamed to the backend, which may therefore receive incomplete requests";
    Finding::differs(text, &[Aspect::Calls, Aspect::RequestHeaders])
}

fn retries(reader: &mut AnnotationReader<'_>) {
    reader.settings.proxy.tries = reader.number("proxy-next-upstream-tries");
    if let Some(number) = reader.settings.proxy.tries {
        reader.found("proxy-next-upstream-tries", tries(number));
    }
    let Some(text) = reader.text("proxy-next-upstream") else {
        return;
    };
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    let known = |word: &String| {
        matches!(
            word.as_str(),
            "error"
                | "timeout"
                | "invalid_header"
                | "http_500"
                | "http_502"
                | "http_503"
                | "http_504"
                | "http_403"
                | "http_404"
                | "http_429"
                | "non_idempotent"
                | "off"
        )
    };
    if !words.iter().all(known) {
        reader.invalid(
            "proxy-next-upstream",
            "the value contains a word that nginx does not define",
        );
        return;
    }
    reader.found("proxy-next-upstream", next_upstream(&words));
    reader.settings.proxy.retry_on = Some(words);
}

fn bodies(reader: &mut AnnotationReader<'_>) {
    let limit = reader.text("proxy-body-size");
    match limit.map(size) {
        Some(Some(limit)) => {
            reader.settings.proxy.body_size = Some(limit);
            let text = "the annotation `towergate.dev/max-request-body` of the BackendTrafficPolicy, which limits bodies while they are streamed. Envoy Gateway has `requestBuffer.limit` only, which holds the whole body in memory";
            reader.found("proxy-body-size", Finding::same(text));
        }
        Some(None) => reader.invalid("proxy-body-size", "the value is not a size"),
        None => {}
    }
    match reader.text("proxy-request-buffering").map(str::trim) {
        Some(word @ ("on" | "off")) => {
            reader.found("proxy-request-buffering", request_buffering(word == "off"));
        }
        Some(_) => reader.invalid(
            "proxy-request-buffering",
            "the value is neither `on` nor `off`",
        ),
        None => {}
    }
}
