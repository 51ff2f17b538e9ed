//! Check requests over gRPC (`envoy.service.auth.v3.Authorization/Check`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderName, HeaderValue, Method, Request, Version, request};
use serde::{Deserialize, Serialize};
use towergate_core::Body;
use towergate_core::plan::{Destination, Text, WeightedBackend};
use towergate_core::policy::RequestFacts;

use super::body::SentPart;
use super::changes::joined;
use super::http_service::{EXPECTED_TIME, PARTIAL_BODY, milliseconds};
use super::message::{
    AttributeContext, AttributeRequest, CHECK, CheckRequest, HttpRequest, Metadata, Peer,
    PeerAddress, SocketAddress, Timestamp,
};
use crate::secret::SecretText;
use crate::unary_call::{self, use_http2};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A service that is called over gRPC.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct GrpcAuthService {
    /// `:authority` of calls. Empty: [`ExternalAuth::new`](super::ExternalAuth::new) uses the name of the
    /// first backend.
    pub authority: String,
    /// Additional values that the service receives.
    pub context: BTreeMap<String, SecretText>,
    /// Whether the service receives kind, namespace and name of the route.
    pub route_metadata: bool,
}

/// The parts of a check request that describe the client's request.
pub(super) struct GrpcFacts<'a> {
    pub(super) head: &'a request::Parts,
    pub(super) facts: RequestFacts<'a>,
    /// Fields that the service receives. `None`: all.
    pub(super) sent: Option<&'a [Text<HeaderName>]>,
    pub(super) body: Option<&'a SentPart>,
    pub(super) route: Option<&'a Metadata>,
}

impl GrpcAuthService {
    /// Sets the default `:authority`, and makes calls to `backends` use HTTP/2, regardless of their protocol
    /// for other requests.
    pub(super) fn prepare(&mut self, backends: &mut [WeightedBackend]) {
        let first = backends
            .iter()
            .find_map(|backend| match &backend.destination {
                Destination::Backend(backend) => Some(&backend.id),
                Destination::Invalid => None,
            });
        if let (true, Some(id)) = (self.authority.is_empty(), first) {
            self.authority = format!("{}.{}:{}", id.name, id.namespace, id.port);
        }
        use_http2(backends);
    }

    /// Builds the call to the service for a request.
    pub(super) fn question(
        &self,
        facts: &GrpcFacts<'_>,
        timeout: Duration,
    ) -> Result<Request<Body>, http::Error> {
        let message = CheckRequest {
            attributes: Some(self.attributes(facts)),
        };
        let mut call = unary_call::request(&self.authority, CHECK, &message, timeout)?;
        call.headers_mut()
            .insert(EXPECTED_TIME, milliseconds(timeout));
        Ok(call)
    }

    fn attributes(&self, facts: &GrpcFacts<'_>) -> AttributeContext {
        let connection = facts.facts.connection;
        let peer = connection.map(|connection| connection.peer);
        let client = facts.facts.client.map(|ip| {
            let port = peer.filter(|peer| peer.ip() == ip);
            SocketAddr::new(ip, port.map_or(0, |peer| peer.port()))
        });
        let certificate =
            connection.and_then(|connection| connection.tls.as_ref()?.client.as_ref());
        let principal = certificate.map(|certificate| {
            let uri = certificate.uris().first();
            uri.map_or_else(|| certificate.subject(), String::as_str)
                .to_owned()
        });
        let context = self.context.iter();
        AttributeContext {
            source: client.or(peer).map(|at| Peer {
                principal: principal.unwrap_or_default(),
                ..peer_at(at)
            }),
            destination: connection.map(|connection| peer_at(connection.local)),
            request: Some(AttributeRequest {
                time: Some(now()),
                http: Some(http_request(facts)),
            }),
            context_extensions: context
                .map(|(name, value)| (name.clone(), value.expose().to_owned()))
                .collect(),
            metadata_context: Some(Metadata::default()),
            route_metadata_context: Some(facts.route.cloned().unwrap_or_default()),
        }
    }
}

fn peer_at(address: SocketAddr) -> Peer {
    let socket_address = SocketAddress {
        address: address.ip().to_string(),
        port_value: address.port().into(),
    };
    Peer {
        address: Some(PeerAddress {
            socket_address: Some(socket_address),
        }),
        principal: String::new(),
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    }
}

fn http_request(facts: &GrpcFacts<'_>) -> HttpRequest {
    let head = facts.head;
    let first = |name: &HeaderName| head.headers.get(name).map(text).unwrap_or_default();
    let host = match head.uri.authority() {
        Some(authority) => authority.as_str().to_owned(),
        None => first(&HOST),
    };
    let scheme = match head.headers.get(FORWARDED_PROTO).map(HeaderValue::as_bytes) {
        Some(b"https") => "https",
        Some(b"http") => "http",
        _ => match facts.facts.connection {
            Some(connection) if connection.tls.is_some() => "https",
            _ => head.uri.scheme_str().unwrap_or("http"),
        },
    };
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = sent_headers(head, facts.sent);
    if facts.sent.is_none() {
        let pseudo = [
            (":method", head.method.as_str()),
            (":path", path),
            (":authority", &*host),
            (":scheme", scheme),
        ];
        headers.extend(pseudo.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    let mut message = HttpRequest {
        id: first(&REQUEST_ID),
        method: head.method.as_str().to_owned(),
        path: path.to_owned(),
        host,
        scheme: scheme.to_owned(),
        size: size(facts),
        protocol: protocol(facts.facts.version.unwrap_or(head.version)).to_owned(),
        ..HttpRequest::default()
    };
    if let Some(part) = facts.body {
        headers.insert(PARTIAL_BODY.as_str().to_owned(), text(&part.is_partial()));
        // A service that reads `body` must receive it even if it is not valid UTF-8.
        let body = String::from_utf8_lossy(&part.data);
        if matches!(body, Cow::Owned(_)) {
            message.raw_body = part.data.clone();
        }
        message.body = body.into_owned();
    }
    message.headers = headers;
    message
}

/// The fields that the service receives, each with all its lines.
fn sent_headers(
    head: &request::Parts,
    sent: Option<&[Text<HeaderName>]>,
) -> BTreeMap<String, String> {
    // `Host` is omitted, because it is sent as `:authority`.
    let names = head
        .headers
        .keys()
        .filter(|name| **name != HOST && **name != PARTIAL_BODY);
    let names = names.filter(|name| sent.is_none_or(|sent| sent.iter().any(|s| **s == **name)));
    let fields = names.filter_map(|name| {
        let value = joined(&head.headers, name)?;
        Some((name.as_str().to_owned(), text(&value)))
    });
    fields.collect()
}

/// The length of the body; -1: unknown.
fn size(facts: &GrpcFacts<'_>) -> i64 {
    let announced = facts.head.headers.get(CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse().ok());
    announced.unwrap_or_else(|| match facts.body {
        Some(part) if !part.partial => i64::try_from(part.data.len()).unwrap_or(-1),
        Some(_) => -1,
        None if matches!(facts.head.method, Method::GET | Method::HEAD) => 0,
        None => -1,
    })
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

/// A value as text. As in Envoy, bytes that are not UTF-8 become `!`.
fn text(value: &HeaderValue) -> String {
    let mut text = String::with_capacity(value.len());
    for chunk in value.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '!'));
    }
    text
}
