//! Values of command operators.
//!
//! Each function appends a value and returns whether there is one.

use std::fmt::Display;
use std::io::Write;

use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::context::{FormatContext, FormatRequest};
use super::grpc_status;
use super::operator::{GrpcStatusForm, HeaderSource, Operator, PathQuery};
use crate::http::grpc::{self, GRPC_STATUS};
use crate::http::query::first_value;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

impl Operator {
    /// Appends the value, if the operator has one.
    pub(super) fn write(&self, context: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Request(first, second) => {
                let first = first.write(context, out);
                first
                    || second
                        .as_ref()
                        .is_some_and(|second| second.write(context, out))
            }
            Self::RequestWithoutQuery(first, second) => {
                let start = out.len();
                let first = first.write(context, out);
                let found = first
                    || second
                        .as_ref()
                        .is_some_and(|second| second.write(context, out));
                if let Some(query) = out[start..].iter().position(|byte| *byte == b'?') {
                    out.truncate(start + query);
                }
                found
            }
            Self::Response(first, second) => {
                let second = second.as_deref();
                response_field(context, first, out)
                    || second.is_some_and(|second| response_field(context, second, out))
            }
            Self::Path(query) => {
                let target = target(context).map(|target| match query {
                    PathQuery::With => target,
                    PathQuery::Without => path_and_query(target).0,
                });
                text(out, target)
            }
            Self::QueryParam(name) => {
                let query = target(context).map(|target| path_and_query(target).1);
                let value = query.and_then(|query| first_value(query, name));
                text(out, value.as_deref())
            }
            Self::StartTime(format) => context.exchange.is_some_and(|exchange| {
                format.write(exchange.start, out);
                true
            }),
            Self::GrpcStatus(form) => grpc_status(context, *form, out),
            Self::Plain(operator) => operator.write(context, out),
        }
    }
}

impl HeaderSource {
    fn write(&self, context: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        let request = context.request.as_ref();
        match self {
            Self::Field(name) => request_field(context, name, out),
            Self::Path => text(out, target(context)),
            Self::Authority => {
                #[cfg(feature = "gateway")]
                if let Some((entry, _)) = context.logged {
                    return text(out, entry.authority.as_deref());
                }
                text(out, request.and_then(authority))
            }
            Self::Method => {
                let method = request.and_then(|request| request.method);
                text(out, method.map(|method| method.as_str()))
            }
            Self::Scheme => {
                let tls = context
                    .connection
                    .is_some_and(|connection| connection.tls.is_some());
                let plain = if tls { "https" } else { "http" };
                request.is_some_and(|_| {
                    request_field(context, &X_FORWARDED_PROTO, out) || text(out, Some(plain))
                })
            }
        }
    }
}

/// Appends the first value of a field of the request.
fn request_field(context: &FormatContext<'_>, name: &HeaderName, out: &mut Vec<u8>) -> bool {
    #[cfg(feature = "gateway")]
    if let Some((entry, names)) = context.logged {
        return field(out, entry.request_field(names, name));
    }
    let headers = context.request.and_then(|request| request.headers);
    field(out, headers.and_then(|headers| headers.get(name)))
}

/// Appends the first value of a field of the response.
fn response_field(context: &FormatContext<'_>, name: &HeaderName, out: &mut Vec<u8>) -> bool {
    #[cfg(feature = "gateway")]
    if let Some((entry, names)) = context.logged {
        if *name == crate::access_log::X_ENVOY_UPSTREAM_SERVICE_TIME {
            return shown(out, entry.upstream_time.map(|time| time.as_millis()));
        }
        return field(out, entry.response_field(names, name));
    }
    field(out, context.response.and_then(|headers| headers.get(name)))
}

fn field(out: &mut Vec<u8>, value: Option<&HeaderValue>) -> bool {
    bytes(out, value.map(HeaderValue::as_bytes))
}

/// Path and query of the request.
fn target<'a>(context: &FormatContext<'a>) -> Option<&'a str> {
    #[cfg(feature = "gateway")]
    if let Some((entry, _)) = context.logged {
        return Some(&*entry.path).filter(|path| !path.is_empty());
    }
    let uri = context.request?.uri?;
    uri.path_and_query().map(|path| path.as_str())
}

fn path_and_query(target: &str) -> (&str, &str) {
    target.split_once('?').unwrap_or((target, ""))
}

fn authority<'a>(request: &FormatRequest<'a>) -> Option<&'a [u8]> {
    let host = request.headers.and_then(|headers| headers.get(HOST));
    let target = || request.uri.and_then(|uri| uri.authority());
    match host {
        Some(host) => Some(host.as_bytes()),
        None => target().map(|target| target.as_str().as_bytes()),
    }
}

/// Appends the status of a gRPC call: that of the trailers, of the head, or of the HTTP status.
fn grpc_status(context: &FormatContext<'_>, form: GrpcStatusForm, out: &mut Vec<u8>) -> bool {
    let mut kind = Vec::new();
    if !request_field(context, &CONTENT_TYPE, &mut kind) {
        return false;
    }
    let Ok(kind) = HeaderValue::from_maybe_shared(bytes::Bytes::from(kind)) else {
        return false;
    };
    let Some(exchange) = &context.exchange else {
        return false;
    };
    if !grpc::is_grpc(&HeaderMap::from_iter([(CONTENT_TYPE, kind)])) {
        return false;
    }
    let mut text = Vec::new();
    let written =
        field(&mut text, exchange.grpc_status) || response_field(context, &GRPC_STATUS, &mut text);
    let of_field = || std::str::from_utf8(&text).ok()?.trim().parse().ok();
    let number = match written {
        true => of_field(),
        false => exchange.status.map(grpc::status_of),
    };
    number.is_some_and(|number| grpc_status::write(number, form, out))
}

pub(super) fn bytes(out: &mut Vec<u8>, value: Option<&[u8]>) -> bool {
    let Some(value) = value else {
        return false;
    };
    out.extend_from_slice(value);
    true
}

pub(super) fn text<T: AsRef<[u8]> + ?Sized>(out: &mut Vec<u8>, value: Option<&T>) -> bool {
    bytes(out, value.map(AsRef::as_ref))
}

pub(super) fn shown(out: &mut Vec<u8>, value: Option<impl Display>) -> bool {
    let Some(value) = value else {
        return false;
    };
    // Writing to a vector cannot fail.
    let _ = write!(out, "{value}");
    true
}
