//! Compares the responses of two running gateways to the same request.
//!
//! The comparison covers the status and the header fields. If both responses come from an echo backend, it
//! also covers the request that the backend received: the response is a JSON object with the path and the
//! header fields of that request. Fields that describe one response or one connection, such as `Date` and
//! `Content-Length`, are omitted. Cookies are compared by name only, and `Location` by its normalised
//! address.
//!
//! ```
//! use towergate_k8s::ingress::comparison::{LiveAnswer, compare_live};
//! use towergate_k8s::ingress::model::ModelRequest;
//!
//! let request = ModelRequest {
//!     https: false,
//!     method: "GET".to_owned(),
//!     target: "/".to_owned(),
//!     headers: vec![("Host".to_owned(), "app.example.com".to_owned())],
//!     client: "203.0.113.99".parse()?,
//!     body_len: 0,
//!     http10: false,
//!     certificate: None,
//!     auth_status: None,
//! };
//! let answer = |status| LiveAnswer { status, headers: Vec::new(), received: None };
//!
//! assert_eq!(compare_live(&request, &answer(200), &answer(200)), None);
//! assert!(compare_live(&request, &answer(200), &answer(404)).is_some());
//! # Ok::<(), std::net::AddrParseError>(())
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::known_differences::described_by;
use super::model::ModelRequest;
use super::proof::{STRANGER, describe};
use super::proof_report::{Difference, ProofReport};
use super::value::url;

/// Fields whose values differ between two responses of one gateway.
const VOLATILE: [&str; 17] = [
    "age",
    "alt-svc",
    "connection",
    "content-length",
    "date",
    "etag",
    "expires",
    "keep-alive",
    "last-modified",
    "nel",
    "report-to",
    "server",
    "server-timing",
    "transfer-encoding",
    "via",
    "x-request-id",
    "x-runtime",
];

/// Fields of a request that depend on the proxies in front of the backend. They are not compared, because the
/// report of the translation describes their differences.
const OF_THE_WAY: [&str; 14] = [
    "accept-encoding",
    "connection",
    "content-length",
    "forwarded",
    "traceparent",
    "transfer-encoding",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-original-forwarded-for",
    "x-request-id",
];

/// A response of a running gateway.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LiveAnswer {
    /// Status.
    pub status: u16,
    /// Header fields.
    pub headers: Vec<(String, String)>,
    /// The request that an echo backend received. `None`: the response does not come from an echo backend.
    pub received: Option<ReceivedRequest>,
}

/// A request that an echo backend received.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ReceivedRequest {
    /// Request target.
    pub target: String,
    /// Header fields in lower case, without those that depend on the proxies in front of the backend.
    pub headers: BTreeMap<String, String>,
}

impl ReceivedRequest {
    /// Parses the response `body` of an echo backend, such as `towergate echo` or that of the conformance
    /// tests of Gateway API: a JSON object with `path` and `headers`. `None`: the body has another form.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(body).ok()?;
        let fields = value["headers"].as_object()?.iter();
        let headers = fields.filter_map(|(name, value)| {
            let name = name.to_ascii_lowercase();
            let own = OF_THE_WAY.contains(&name.as_str())
                || ["x-envoy-", "x-real-", "x-scheme"]
                    .iter()
                    .any(|start| name.starts_with(start));
            let value = match value {
                Value::Array(values) => {
                    let values = values.iter().filter_map(Value::as_str);
                    values.collect::<Vec<_>>().join(", ")
                }
                value => value.as_str()?.to_owned(),
            };
            (!own).then_some((name, value))
        });
        Some(Self {
            target: value["path"].as_str()?.to_owned(),
            headers: headers.collect(),
        })
    }
}

/// Whether a request can be sent to running gateways. It must have a safe method or one of the `allowed`
/// methods, and must not depend on a client address, a client certificate or HTTP/1.0.
pub fn is_sendable(request: &ModelRequest, allowed: &[String]) -> bool {
    (matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS")
        || allowed.contains(&request.method))
        && request.client == STRANGER
        && request.certificate.is_none()
        && !request.http10
        && request.body_len == 0
}

/// Adds the comparison of the responses of ingress-nginx and of the new gateway to `proof`. `Err`: the
/// gateway gave no response. The request is then not compared, and the proof fails.
///
/// `known` contains the explanations of a proof of the translation, by request. A difference of the same
/// request gets the same explanation. If ingress-nginx rejects a request and the new gateway accepts it, the
/// difference gets no explanation.
pub fn add_live_comparison(
    proof: &mut ProofReport,
    request: &ModelRequest,
    (old, new): (&Result<LiveAnswer, String>, &Result<LiveAnswer, String>),
    known: &BTreeMap<String, Vec<String>>,
) {
    match (old, new) {
        (Ok(old), Ok(new)) => {
            proof.compared += 1;
            let Some(mut difference) = compare_live(request, old, new) else {
                return;
            };
            let is_weaker = matches!(old.status, 401 | 403) && new.status < 400;
            if let Some(names) = known.get(&difference.request).filter(|_| !is_weaker) {
                difference.explained_by.extend(names.iter().cloned());
                difference.explained_by.sort();
                difference.explained_by.dedup();
            }
            proof.differences.push(difference);
        }
        _ => proof.unanswered.push(Difference {
            request: describe(request),
            expected: status_or_error(old),
            found: status_or_error(new),
            ..Difference::default()
        }),
    }
}

fn status_or_error(answer: &Result<LiveAnswer, String>) -> String {
    match answer {
        Ok(answer) => answer.status.to_string(),
        Err(error) => error.clone(),
    }
}

/// Compares two responses to `request`. `None`: the responses are equal.
pub fn compare_live(
    request: &ModelRequest,
    old: &LiveAnswer,
    new: &LiveAnswer,
) -> Option<Difference> {
    let (mut before, mut after) = (fields(old), fields(new));
    if let (Some(old), Some(new)) = (&old.received, &new.received) {
        add_received(&mut before, old);
        add_received(&mut after, new);
    }
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differing: Vec<&String> = names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .collect();
    if old.status == new.status && differing.is_empty() {
        return None;
    }
    Some(Difference {
        request: describe(request),
        expected: summary(old.status, &before, &differing),
        found: summary(new.status, &after, &differing),
        explained_by: described_by(old, new, &differing),
        ..Difference::default()
    })
}

type Fields = BTreeMap<String, BTreeSet<String>>;

/// The fields of a response that are compared.
fn fields(answer: &LiveAnswer) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in &answer.headers {
        let name = name.to_ascii_lowercase();
        if VOLATILE.contains(&name.as_str()) || name.starts_with("x-envoy-") {
            continue;
        }
        let value = match name.as_str() {
            "set-cookie" => value
                .split('=')
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned(),
            "location" => normal_address(value),
            _ => value.trim().to_owned(),
        };
        fields.entry(name).or_default().insert(value);
    }
    fields
}

/// Adds the fields of the request that the backend received.
fn add_received(fields: &mut Fields, received: &ReceivedRequest) {
    let target = ("backend receives".to_owned(), received.target.clone());
    let headers = received.headers.iter();
    let headers = headers.map(|(name, value)| (format!("backend receives {name}"), value.clone()));
    for (name, value) in std::iter::once(target).chain(headers) {
        fields.entry(name).or_default().insert(value);
    }
}

/// Normalises an address: removes the default port of its scheme, and adds a missing path (RFC 3986, section
/// 6.2.3).
fn normal_address(address: &str) -> String {
    let Some(parts) = url(address) else {
        return address.to_owned();
    };
    let default = if parts.scheme == "https" { 443 } else { 80 };
    let port = parts.port.filter(|port| *port != default);
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", parts.scheme, parts.host, parts.target())
}

fn summary(status: u16, fields: &Fields, differing: &[&String]) -> String {
    let mut text = status.to_string();
    for name in differing {
        let values = fields.get(*name).into_iter().flatten();
        let values: Vec<&str> = values.map(String::as_str).collect();
        let values = if values.is_empty() {
            "absent".to_owned()
        } else {
            values.join(", ")
        };
        text.push_str(&format!("; {name}: {values}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get() -> ModelRequest {
        ModelRequest {
            https: false,
            method: "GET".to_owned(),
            target: "/a".to_owned(),
            headers: vec![("Host".to_owned(), "app.example.com".to_owned())],
            client: STRANGER,
            body_len: 0,
            http10: false,
            certificate: None,
            auth_status: None,
        }
    }

    fn answer(status: u16, headers: &[(&str, &str)]) -> LiveAnswer {
        let headers = headers.iter();
        LiveAnswer {
            status,
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            received: None,
        }
    }

    #[test]
    fn what_changes_from_response_to_response_is_no_difference() {
        let old = answer(
            302,
            &[
                ("Location", "http://app.example.com:80"),
                ("Date", "Mon"),
                ("Set-Cookie", "id=1; Path=/"),
            ],
        );
        let new = answer(
            302,
            &[
                ("location", "http://app.example.com/"),
                ("set-cookie", "id=2; Path=/"),
                ("server", "towergate"),
            ],
        );

        assert_eq!(compare_live(&get(), &old, &new), None);
    }

    #[test]
    fn status_and_fields_that_differ_are_named() {
        let old = answer(200, &[("X-A", "1"), ("X-B", "2")]);
        let new = answer(404, &[("X-A", "1")]);

        let difference = compare_live(&get(), &old, &new).expect("they differ");

        assert_eq!(difference.expected, "200; x-b: 2");
        assert_eq!(difference.found, "404; x-b: absent");
    }

    #[test]
    fn the_form_of_replies_of_the_gateway_is_a_described_difference() {
        let page = ("Content-Type", "text/html");
        for (old, new, name) in [
            (answer(404, &[page]), answer(404, &[]), "error responses"),
            (
                answer(503, &[page]),
                answer(500, &[("content-type", "text/plain")]),
                "error responses",
            ),
            (
                answer(308, &[("Location", "https://a.test/x")]),
                answer(308, &[("Location", "https://a.test/x/")]),
                "redirects to HTTPS",
            ),
            (answer(200, &[page]), answer(200, &[]), ""),
            (answer(404, &[page]), answer(200, &[]), ""),
            (answer(404, &[page, ("x-a", "1")]), answer(404, &[]), ""),
            (
                answer(403, &[("content-type", "application/json")]),
                answer(403, &[]),
                "",
            ),
        ] {
            let difference = compare_live(&get(), &old, &new).expect("they differ");

            assert_eq!(difference.explained_by.join(" "), name, "{difference:?}");
        }
    }

    #[test]
    fn a_difference_that_the_translation_has_is_described_unless_it_is_weaker() {
        let known = BTreeMap::from([(describe(&get()), vec!["spec.rules".to_owned()])]);
        for (old, described) in [(404, true), (403, false)] {
            let mut proof = ProofReport::new("Running gateways");
            let answers = (&Ok(answer(old, &[])), &Ok(answer(200, &[])));

            add_live_comparison(&mut proof, &get(), answers, &known);

            assert_eq!(proof.has_failed(), !described);
        }
    }

    #[test]
    fn what_echo_backends_received_is_compared() {
        let echo = |body: &str| {
            let mut answer = answer(200, &[]);
            answer.received = ReceivedRequest::parse(body.as_bytes());
            answer
        };
        let old =
            echo(r#"{"path": "/b?x", "headers": {"X-Real-Ip": ["192.0.2.1"], "A": ["1", "2"]}}"#);
        let same =
            echo(r#"{"path": "/b?x", "headers": {"a": "1, 2", "x-envoy-internal": "true"}}"#);
        let other = echo(r#"{"path": "/a", "headers": {}}"#);

        assert_eq!(compare_live(&get(), &old, &same), None);
        let difference = compare_live(&get(), &old, &other).expect("they differ");
        assert_eq!(
            difference.found,
            "200; backend receives: /a; backend receives a: absent"
        );
        assert_eq!(compare_live(&get(), &old, &answer(200, &[])), None);
        assert_eq!(ReceivedRequest::parse(br#"{"path": "/a"}"#), None);
    }

    #[test]
    fn a_request_without_a_response_is_not_compared_and_fails_the_proof() {
        let failed = || Err("no response: connection refused".to_owned());
        let answered = || Ok(answer(200, &[]));
        for (old, new, compared) in [
            (failed(), failed(), 0),
            (answered(), failed(), 0),
            (failed(), answered(), 0),
            (answered(), answered(), 1),
        ] {
            let mut proof = ProofReport::new("Running gateways");

            add_live_comparison(&mut proof, &get(), (&old, &new), &BTreeMap::new());

            assert_eq!(proof.compared, compared);
            assert_eq!(proof.has_failed(), compared == 0);
            let text = proof.text();
            assert_eq!(text.contains("connection refused"), compared == 0, "{text}");
            let summary = format!("0 different; {} not compared", 1 - compared);
            assert!(text.contains(&summary), "{text}");
        }
    }

    #[test]
    fn only_requests_that_change_nothing_are_sent() {
        let post = ModelRequest {
            method: "POST".to_owned(),
            ..get()
        };
        let of_client = ModelRequest {
            client: [10, 0, 0, 1].into(),
            ..get()
        };

        assert!(is_sendable(&get(), &[]));
        assert!(!is_sendable(&post, &[]) && !is_sendable(&of_client, &[]));
        assert!(is_sendable(&post, &["POST".to_owned()]));
    }
}
