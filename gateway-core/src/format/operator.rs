//! The command operators and their names.

use http::HeaderName;
#[cfg(feature = "gateway")]
use http::header::CONTENT_TYPE;

use super::error::FormatError;
use super::time::TimeFormat;
#[cfg(feature = "gateway")]
use crate::access_log::{Entry, LoggedFields, X_ENVOY_UPSTREAM_SERVICE_TIME};
#[cfg(feature = "gateway")]
use crate::http::grpc::GRPC_STATUS;
use crate::text::Text;

/// A command operator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Operator {
    /// `REQ(X?Y)`: a field of the request.
    Request(HeaderSource, Option<HeaderSource>),
    /// `REQ_WITHOUT_QUERY(X?Y)`: a field of the request, without the query of a URL.
    RequestWithoutQuery(HeaderSource, Option<HeaderSource>),
    /// `RESP(X?Y)`: a field of the response.
    Response(Text<HeaderName>, Option<Text<HeaderName>>),
    /// `PATH`: the path of the request.
    Path(PathQuery),
    /// `QUERY_PARAM(X)`: a parameter of the query.
    QueryParam(Box<str>),
    /// `START_TIME`, in UTC.
    StartTime(TimeFormat),
    /// `GRPC_STATUS`: the status of a gRPC call.
    GrpcStatus(GrpcStatusForm),
    /// An operator without arguments.
    Plain(PlainOperator),
}

/// The form of a gRPC status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum GrpcStatusForm {
    /// Such as `NotFound`.
    Camel,
    /// Such as `NOT_FOUND`.
    Snake,
    /// Such as `5`.
    Number,
}

/// A field or pseudo-header field of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum HeaderSource {
    /// A header field.
    Field(Text<HeaderName>),
    /// `:path`.
    Path,
    /// `:authority`.
    Authority,
    /// `:method`.
    Method,
    /// `:scheme`.
    Scheme,
}

/// Whether the value of a path operator includes the query.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PathQuery {
    /// The value includes the query.
    With,
    /// The value does not include the query.
    Without,
}

macro_rules! plain_operators {
    ($($(#[$doc:meta])* $operator:ident = $name:literal,)*) => {
        /// An operator without arguments.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(super) enum PlainOperator {$(
            #[doc = concat!("`", $name, "`.")]
            $operator,
        )*}

        impl PlainOperator {
            /// Names of all operators without arguments.
            const ALL: &[(&'static str, Self)] = &[$(($name, Self::$operator)),*];
        }
    };
}

plain_operators! {
    BytesReceived = "BYTES_RECEIVED",
    BytesSent = "BYTES_SENT",
    ConnectionId = "CONNECTION_ID",
    ConnectionTermination = "CONNECTION_TERMINATION_DETAILS",
    DirectRemoteAddress = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    DirectRemoteIp = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    DirectRemotePort = "DOWNSTREAM_DIRECT_REMOTE_PORT",
    Duration = "DURATION",
    Hostname = "HOSTNAME",
    Ja3Fingerprint = "TLS_JA3_FINGERPRINT",
    Ja4Fingerprint = "TLS_JA4_FINGERPRINT",
    LocalAddress = "DOWNSTREAM_LOCAL_ADDRESS",
    LocalIp = "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    LocalPort = "DOWNSTREAM_LOCAL_PORT",
    LocalUriSan = "DOWNSTREAM_LOCAL_URI_SAN",
    PeerCertificate = "DOWNSTREAM_PEER_CERT",
    PeerDnsSan = "DOWNSTREAM_PEER_DNS_SAN",
    PeerFingerprint = "DOWNSTREAM_PEER_FINGERPRINT_256",
    PeerIssuer = "DOWNSTREAM_PEER_ISSUER",
    PeerSubject = "DOWNSTREAM_PEER_SUBJECT",
    PeerUriSan = "DOWNSTREAM_PEER_URI_SAN",
    Protocol = "PROTOCOL",
    RemoteAddress = "DOWNSTREAM_REMOTE_ADDRESS",
    RemoteIp = "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    RemotePort = "DOWNSTREAM_REMOTE_PORT",
    RequestDuration = "REQUEST_DURATION",
    ResponseCode = "RESPONSE_CODE",
    ResponseCodeDetails = "RESPONSE_CODE_DETAILS",
    ResponseDuration = "RESPONSE_DURATION",
    ResponseFlags = "RESPONSE_FLAGS",
    ResponseFlagsLong = "RESPONSE_FLAGS_LONG",
    ResponseTxDuration = "RESPONSE_TX_DURATION",
    RouteName = "ROUTE_NAME",
    ServerName = "REQUESTED_SERVER_NAME",
    SpanId = "SPAN_ID",
    TlsCipher = "DOWNSTREAM_TLS_CIPHER",
    TlsVersion = "DOWNSTREAM_TLS_VERSION",
    TraceId = "TRACE_ID",
    UpstreamAttempts = "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    UpstreamCluster = "UPSTREAM_CLUSTER",
    UpstreamHost = "UPSTREAM_HOST",
    UpstreamLocalAddress = "UPSTREAM_LOCAL_ADDRESS",
    UpstreamLocalIp = "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    UpstreamLocalPort = "UPSTREAM_LOCAL_PORT",
    UpstreamProtocol = "UPSTREAM_PROTOCOL",
    UpstreamRemoteAddress = "UPSTREAM_REMOTE_ADDRESS",
    UpstreamRemoteIp = "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    UpstreamRemotePort = "UPSTREAM_REMOTE_PORT",
    UpstreamTransportFailure = "UPSTREAM_TRANSPORT_FAILURE_REASON",
    VirtualClusterName = "VIRTUAL_CLUSTER_NAME",
}

impl Operator {
    /// Creates the operator `name` with these arguments. `whole` is the text of the operator, for errors.
    pub(super) fn new(name: &str, args: Option<&str>, whole: &str) -> Result<Self, FormatError> {
        let invalid = || FormatError::Arguments(whole.to_owned());
        let plain = PlainOperator::ALL.iter().find(|(known, _)| *known == name);
        if let Some((_, operator)) = plain {
            return match args {
                None => Ok(Self::Plain(*operator)),
                Some(_) => Err(invalid()),
            };
        }
        match (name, args) {
            ("REQ" | "REQ_WITHOUT_QUERY", Some(args)) => {
                let (first, second) = alternatives(args);
                let source = |text: &str| HeaderSource::parse(text).ok_or_else(invalid);
                let (first, second) = (source(first)?, second.map(source).transpose()?);
                Ok(match name {
                    "REQ" => Self::Request(first, second),
                    _ => Self::RequestWithoutQuery(first, second),
                })
            }
            ("RESP", Some(args)) => {
                let (first, second) = alternatives(args);
                let field = |text: &str| text.parse().map_err(|_| invalid());
                Ok(Self::Response(
                    field(first)?,
                    second.map(field).transpose()?,
                ))
            }
            ("PATH", args) => match args.unwrap_or("WQ") {
                "WQ" | "WQ:PATH" => Ok(Self::Path(PathQuery::With)),
                "NQ" | "NQ:PATH" => Ok(Self::Path(PathQuery::Without)),
                _ => Err(invalid()),
            },
            ("QUERY_PARAM", Some(name)) if !name.is_empty() => Ok(Self::QueryParam(name.into())),
            ("START_TIME", args) => {
                let format = TimeFormat::parse(args.unwrap_or_default());
                format.map(Self::StartTime).ok_or_else(invalid)
            }
            ("GRPC_STATUS", args) => match args.unwrap_or("CAMEL_STRING") {
                "CAMEL_STRING" => Ok(Self::GrpcStatus(GrpcStatusForm::Camel)),
                "SNAKE_STRING" => Ok(Self::GrpcStatus(GrpcStatusForm::Snake)),
                "NUMBER" => Ok(Self::GrpcStatus(GrpcStatusForm::Number)),
                _ => Err(invalid()),
            },
            ("GRPC_STATUS_NUMBER", None) => Ok(Self::GrpcStatus(GrpcStatusForm::Number)),
            ("REQ" | "REQ_WITHOUT_QUERY" | "RESP" | "QUERY_PARAM" | "GRPC_STATUS_NUMBER", _) => {
                Err(invalid())
            }
            _ => Err(FormatError::Unknown(whole.to_owned())),
        }
    }

    /// Whether the value depends on the head of the request.
    pub(super) fn reads_request(&self) -> bool {
        match self {
            Self::Request(..)
            | Self::RequestWithoutQuery(..)
            | Self::Path(_)
            | Self::QueryParam(_)
            | Self::GrpcStatus(_) => true,
            Self::Plain(operator) => *operator == PlainOperator::Protocol,
            Self::Response(..) | Self::StartTime(_) => false,
        }
    }

    /// Whether the value is a number in JSON.
    #[cfg(feature = "gateway")]
    pub(super) fn is_number(&self) -> bool {
        use PlainOperator as P;
        match self {
            Self::GrpcStatus(form) => *form == GrpcStatusForm::Number,
            Self::Plain(operator) => matches!(
                operator,
                P::BytesReceived
                    | P::BytesSent
                    | P::ConnectionId
                    | P::DirectRemotePort
                    | P::Duration
                    | P::LocalPort
                    | P::RemotePort
                    | P::RequestDuration
                    | P::ResponseCode
                    | P::ResponseDuration
                    | P::ResponseTxDuration
                    | P::UpstreamAttempts
                    | P::UpstreamLocalPort
                    | P::UpstreamRemotePort
            ),
            _ => false,
        }
    }
}

#[cfg(feature = "gateway")]
impl Operator {
    /// Adds what an access log must record for the value.
    pub(super) fn add_logged(&self, fields: &mut LoggedFields) {
        let mut request = |source: &HeaderSource| {
            if let HeaderSource::Field(name) = source
                && !Entry::has_request_field(name)
            {
                fields.request.push(HeaderName::clone(name));
            }
        };
        match self {
            Self::Request(first, second) | Self::RequestWithoutQuery(first, second) => {
                // The original path is that of the entry.
                if !(first.is_original_path() && *second == Some(HeaderSource::Path)) {
                    request(first);
                }
                second.iter().for_each(request);
            }
            Self::Response(first, second) => {
                let names = [Some(first), second.as_ref()].into_iter().flatten();
                let names = names.filter(|name| ***name != X_ENVOY_UPSTREAM_SERVICE_TIME);
                fields
                    .response
                    .extend(names.map(|name| HeaderName::clone(name)));
            }
            Self::GrpcStatus(_) => {
                fields.request.push(CONTENT_TYPE);
                fields.response.push(GRPC_STATUS);
            }
            Self::Plain(
                PlainOperator::RequestDuration
                | PlainOperator::ResponseDuration
                | PlainOperator::ResponseTxDuration,
            ) => fields.durations = true,
            Self::Path(_) | Self::QueryParam(_) | Self::StartTime(_) | Self::Plain(_) => {}
        }
    }
}

impl HeaderSource {
    #[cfg(feature = "gateway")]
    fn is_original_path(&self) -> bool {
        matches!(self, Self::Field(name) if *name.as_str() == *"x-envoy-original-path")
    }

    fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        Some(match lower.as_str() {
            ":path" => Self::Path,
            ":authority" | "host" => Self::Authority,
            ":method" => Self::Method,
            ":scheme" => Self::Scheme,
            _ => Self::Field(text.parse().ok()?),
        })
    }
}

/// Splits `X?Y` into its parts.
fn alternatives(args: &str) -> (&str, Option<&str>) {
    match args.split_once('?') {
        Some((first, second)) => (first, Some(second)),
        None => (args, None),
    }
}
