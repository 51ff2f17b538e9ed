//! The command operators and their names.

use http::HeaderName;

use super::error::FormatError;
use super::time::TimeFormat;
use crate::text::Text;

/// A command operator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Operator {
    /// `REQ(X?Y)`: a field of the request.
    Request(HeaderSource, Option<HeaderSource>),
    /// `RESP(X?Y)`: a field of the response.
    Response(Text<HeaderName>, Option<Text<HeaderName>>),
    /// `PATH`: the path of the request.
    Path(PathQuery),
    /// `QUERY_PARAM(X)`: a parameter of the query.
    QueryParam(Box<str>),
    /// `START_TIME`, in UTC.
    StartTime(TimeFormat),
    /// An operator without arguments.
    Plain(PlainOperator),
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
    DirectRemoteAddress = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    DirectRemoteIp = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    DirectRemotePort = "DOWNSTREAM_DIRECT_REMOTE_PORT",
    Hostname = "HOSTNAME",
    LocalAddress = "DOWNSTREAM_LOCAL_ADDRESS",
    LocalIp = "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    LocalPort = "DOWNSTREAM_LOCAL_PORT",
    PeerCertificate = "DOWNSTREAM_PEER_CERT",
    PeerFingerprint = "DOWNSTREAM_PEER_FINGERPRINT_256",
    PeerIssuer = "DOWNSTREAM_PEER_ISSUER",
    PeerSubject = "DOWNSTREAM_PEER_SUBJECT",
    Protocol = "PROTOCOL",
    RemoteAddress = "DOWNSTREAM_REMOTE_ADDRESS",
    RemoteIp = "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    RemotePort = "DOWNSTREAM_REMOTE_PORT",
    ResponseCode = "RESPONSE_CODE",
    ResponseCodeDetails = "RESPONSE_CODE_DETAILS",
    ResponseFlags = "RESPONSE_FLAGS",
    RouteName = "ROUTE_NAME",
    ServerName = "REQUESTED_SERVER_NAME",
    Ja3Fingerprint = "TLS_JA3_FINGERPRINT",
    Ja4Fingerprint = "TLS_JA4_FINGERPRINT",
    TlsCipher = "DOWNSTREAM_TLS_CIPHER",
    TlsVersion = "DOWNSTREAM_TLS_VERSION",
    UpstreamHost = "UPSTREAM_HOST",
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
            ("REQ", Some(args)) => {
                let (first, second) = alternatives(args);
                let source = |text: &str| HeaderSource::parse(text).ok_or_else(invalid);
                Ok(Self::Request(
                    source(first)?,
                    second.map(source).transpose()?,
                ))
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
            ("REQ" | "RESP" | "QUERY_PARAM", _) => Err(invalid()),
            _ => Err(FormatError::Unknown(whole.to_owned())),
        }
    }

    /// Whether the value depends on the head of the request.
    pub(super) fn reads_request(&self) -> bool {
        match self {
            Self::Request(..) | Self::Path(_) | Self::QueryParam(_) => true,
            Self::Plain(operator) => *operator == PlainOperator::Protocol,
            Self::Response(..) | Self::StartTime(_) => false,
        }
    }
}

impl HeaderSource {
    fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        Some(match lower.as_str() {
            ":path" => Self::Path,
            ":authority" => Self::Authority,
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
