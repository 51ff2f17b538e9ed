//! Questions and answers over gRPC (`envoy.service.auth.v3.Authorization/Check`).
//!
//! A call is one HTTP/2 request on the gateway's own upstream stack: a message with its prefix of five bytes, and a
//! status in the trailers (gRPC over HTTP/2).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, TE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version, request};
use prost::Message;
use serde::{Deserialize, Serialize};
use towergate_core::plan::{BackendProtocol, Destination, Text, WeightedBackend};
use towergate_core::policy::RequestFacts;
use towergate_core::{Body, LocalReply};

use super::body::SentPart;
use super::changes::{is_editable, joined};
use super::http_service::{EXPECTED_TIME, PARTIAL_BODY, milliseconds};
use super::message::{
    AttributeContext, AttributeRequest, CHECK, CheckRequest, CheckResponse, DeniedResponse,
    HeaderValueOption, HttpRequest, Metadata, OkResponse, Peer, PeerAddress, SocketAddress,
    Timestamp,
};
use super::{EditAction, HeaderEdit, QueryEdits, RequestChanges, ServiceError, Verdict};
use crate::secret::SecretText;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Length of the prefix of a message: a flag and four bytes of length.
const PREFIX: usize = 5;

/// A service that is asked over gRPC.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct GrpcAuthService {
    /// `:authority` of calls. Empty: [`ExternalAuth::new`](super::ExternalAuth::new) takes the first backend.
    pub authority: String,
    /// Additional values that the service receives.
    pub context: BTreeMap<String, SecretText>,
    /// Whether the service receives kind, namespace and name of the route.
    pub route_metadata: bool,
}

/// What a question says of a request.
pub(super) struct GrpcFacts<'a> {
    pub(super) head: &'a request::Parts,
    pub(super) facts: RequestFacts<'a>,
    /// Fields that the service receives. `None`: all.
    pub(super) sent: Option<&'a [Text<HeaderName>]>,
    pub(super) body: Option<&'a SentPart>,
    pub(super) route: Option<&'a Metadata>,
}

impl GrpcAuthService {
    /// Makes calls to `backends` possible: over HTTP/2, whatever their protocol is for other requests.
    pub(super) fn prepare(&mut self, backends: &mut [WeightedBackend]) {
        for backend in &mut *backends {
            let Destination::Backend(found) = &mut backend.destination else {
                continue;
            };
            if self.authority.is_empty() {
                let id = &found.id;
                self.authority = format!("{}.{}:{}", id.name, id.namespace, id.port);
            }
            if found.protocol != BackendProtocol::Http2 {
                let found = Arc::make_mut(found);
                found.protocol = BackendProtocol::Http2;
                if let Some(tls) = &mut found.tls {
                    Arc::make_mut(tls).alpn = vec!["h2".to_owned()];
                }
            }
        }
    }

    /// The call that asks the service about a request.
    pub(super) fn question(
        &self,
        facts: &GrpcFacts<'_>,
        timeout: Duration,
    ) -> Result<Request<Body>, http::Error> {
        let message = CheckRequest {
            attributes: Some(self.attributes(facts)),
        };
        let length = message.encoded_len();
        let mut framed = BytesMut::with_capacity(PREFIX + length);
        framed.put_u8(0);
        // A message of 4 GiB has not been read.
        framed.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        message.encode_raw(&mut framed);
        let uri = format!("http://{}{CHECK}", self.authority);
        Request::post(uri)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .header(GRPC_TIMEOUT, grpc_timeout(timeout))
            .header(EXPECTED_TIME, milliseconds(timeout))
            .body(framed.freeze().into())
    }

    /// The decision in a `CheckResponse`.
    ///
    /// A response whose status is OK but which describes a denial denies.
    ///
    /// # Errors
    /// The message cannot be decoded, reports an error, or allows the request with invalid changes. A denial
    /// with invalid fields is a denial without these fields.
    pub fn read_answer(message: Bytes) -> Result<Verdict, ServiceError> {
        let answer = CheckResponse::decode(message)?;
        let allowed = answer.status.is_none_or(|status| status.code == 0);
        match (allowed, answer.denied_response) {
            (_, Some(denied)) => Ok(deny(denied)),
            (_, None) if answer.error_response.is_some() => Err(ServiceError::Reported),
            (false, None) => Ok(deny(DeniedResponse::default())),
            (true, None) => allow(answer.ok_response.unwrap_or_default()).map(Verdict::Allow),
        }
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
        match std::str::from_utf8(&part.data) {
            Ok(body) => message.body = body.to_owned(),
            Err(_) => message.raw_body = part.data.clone(),
        }
    }
    message.headers = headers;
    message
}

/// The fields that the service receives, each with all its lines.
fn sent_headers(
    head: &request::Parts,
    sent: Option<&[Text<HeaderName>]>,
) -> BTreeMap<String, String> {
    // `Host` is `:authority`.
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

/// A value as text: bytes that are not UTF-8 are `!`, as in Envoy.
fn text(value: &HeaderValue) -> String {
    let mut text = String::with_capacity(value.len());
    for chunk in value.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '!'));
    }
    text
}

/// A time as gRPC writes it: at most eight digits and a unit.
fn grpc_timeout(time: Duration) -> String {
    let millis = time.as_millis();
    if millis < 100_000_000 {
        format!("{millis}m")
    } else {
        format!("{}S", time.as_secs().min(99_999_999))
    }
}

/// The message of a successful unary call.
pub(super) fn read_message(
    status: StatusCode,
    headers: &HeaderMap,
    data: &Bytes,
    trailers: Option<&HeaderMap>,
) -> Result<Bytes, ServiceError> {
    if status != StatusCode::OK {
        return Err(ServiceError::Status(status));
    }
    let code = trailers.and_then(|trailers| trailers.get(GRPC_STATUS));
    let code = code.or_else(|| headers.get(GRPC_STATUS));
    let code = code.and_then(|code| code.to_str().ok()?.parse().ok());
    match code {
        Some(0) => {}
        Some(code) => return Err(ServiceError::Grpc(code)),
        None => return Err(ServiceError::Framing("no grpc-status")),
    }
    let Some((prefix, message)) = data.split_first_chunk::<PREFIX>() else {
        return Err(ServiceError::Framing("no message"));
    };
    let [flag, length @ ..] = *prefix;
    if flag != 0 {
        return Err(ServiceError::Framing("compressed without negotiation"));
    }
    if u32::from_be_bytes(length) as usize != message.len() {
        return Err(ServiceError::Framing("not exactly one message"));
    }
    Ok(data.slice(PREFIX..))
}

fn deny(denied: DeniedResponse) -> Verdict {
    let code = denied.status.map_or(0, |status| status.code);
    let status = u16::try_from(code)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.filter(|status| (200..600).contains(&status.as_u16()));
    let mut reply = LocalReply::forbidden("ext_authz_denied")
        .with_flag("UAEX")
        .with_body(denied.body);
    reply.status = status.unwrap_or(StatusCode::FORBIDDEN);
    for option in denied.headers {
        if let Ok((name, value)) = field(&option)
            && is_editable(&name)
        {
            reply.headers.push((name, value));
        }
    }
    Verdict::Deny(reply)
}

fn allow(ok: OkResponse) -> Result<RequestChanges, ServiceError> {
    let mut changes = RequestChanges::default();
    for option in &ok.headers {
        let key = option.header.as_ref().map_or("", |header| &*header.key);
        if key == ":path" {
            let path = option.header.as_ref().map_or("", |header| &*header.value);
            let path = Some(path).filter(|path| path.starts_with('/'));
            let path = path.and_then(|path| path.parse().ok());
            changes.path = Some(path.ok_or(ServiceError::Change("path"))?);
        } else {
            let (name, value) = field(option)?;
            let action = request_action(option)?;
            changes.edits.push(HeaderEdit {
                name,
                value,
                action,
            });
        }
    }
    // Pseudo-header fields cannot be removed; their names are no names of fields.
    let removed = ok.headers_to_remove.iter();
    changes.removed = removed.filter_map(|name| name.parse().ok()).collect();
    for option in &ok.response_headers_to_add {
        let (name, value) = field(option)?;
        if is_editable(&name) {
            let action = response_action(option)?;
            changes.response_edits.push(HeaderEdit {
                name,
                value,
                action,
            });
        }
    }
    let set = ok.query_parameters_to_set.into_iter();
    changes.query = QueryEdits {
        set: set
            .map(|parameter| (parameter.key, parameter.value))
            .collect(),
        remove: ok.query_parameters_to_remove,
    };
    Ok(changes)
}

fn field(option: &HeaderValueOption) -> Result<(HeaderName, HeaderValue), ServiceError> {
    let invalid = || ServiceError::Change("header field");
    let header = option.header.as_ref().ok_or_else(invalid)?;
    let value = if header.value.is_empty() {
        &header.raw_value[..]
    } else {
        header.value.as_bytes()
    };
    let name = HeaderName::from_bytes(header.key.as_bytes()).map_err(|_| invalid())?;
    let value = HeaderValue::from_bytes(value).map_err(|_| invalid())?;
    Ok((name, value))
}

/// The action for a field of the request. Without any setting a field replaces that of the client, so that the
/// client's own does not remain beside it.
fn request_action(option: &HeaderValueOption) -> Result<EditAction, ServiceError> {
    match (
        option.append.map(|append| append.value),
        option.append_action,
    ) {
        (Some(true), _) => Ok(EditAction::AppendExisting),
        (Some(false), _) | (None, 0) => Ok(EditAction::Overwrite),
        (None, action) => explicit_action(action),
    }
}

/// The action for a field of the response. Without any setting a line is added.
fn response_action(option: &HeaderValueOption) -> Result<EditAction, ServiceError> {
    match (
        option.append.map(|append| append.value),
        option.append_action,
    ) {
        (Some(true), _) | (None, 0) => Ok(EditAction::Add),
        (Some(false), _) => Ok(EditAction::Overwrite),
        (None, action) => explicit_action(action),
    }
}

fn explicit_action(action: i32) -> Result<EditAction, ServiceError> {
    match action {
        1 => Ok(EditAction::AddIfAbsent),
        2 => Ok(EditAction::Overwrite),
        3 => Ok(EditAction::OverwriteExisting),
        _ => Err(ServiceError::Change("append_action")),
    }
}
