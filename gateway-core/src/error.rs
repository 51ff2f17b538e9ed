//! Why a request got no answer from a backend, and what the client is told.
//!
//! ```
//! use towergate_core::Error;
//!
//! let answer = Error::NoRoute.answer();
//! assert_eq!(answer.status, 404);
//! assert_eq!(answer.flag, "NR");
//! ```

use std::borrow::Cow;
use std::net::SocketAddr;

use http::StatusCode;

/// Why a request got no answer from a backend. The texts are those of Envoy's local replies.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No rule of the listener matches.
    #[error("no route")]
    NoRoute,
    /// The authority belongs to another listener than the one that TLS chose.
    #[error("misdirected")]
    Misdirected,
    /// The rule or its policy is invalid: it fails closed with this status.
    #[error("the configuration of the rule is invalid")]
    Failed(StatusCode),
    /// The share of an unresolvable backendRef.
    #[error("the backend reference is invalid")]
    InvalidBackend,
    /// As `InvalidBackend`, in a rule that also has a backend which can serve.
    #[error("the backend reference is invalid")]
    InvalidShare,
    /// The backend has no endpoint.
    #[error("the backend has no endpoint")]
    NoEndpoint,
    /// As `NoEndpoint`, in a rule that also has a backend which can serve.
    #[error("the backend has no endpoint")]
    EmptyShare,
    /// All endpoints failed lately, and none of them is to be tried.
    #[error("no healthy upstream")]
    NoHealthyEndpoint,
    /// A limit of the circuit breaker is reached.
    #[error("overflow")]
    Overflow,
    /// The connection could not be opened.
    #[error("connecting to {0}")]
    Connect(SocketAddr, #[source] std::io::Error),
    /// The connection could not be opened in time.
    #[error("connecting to {0} timed out")]
    ConnectTimeout(SocketAddr),
    /// The TLS handshake with the endpoint failed.
    #[error("TLS with {0}")]
    BackendTls(SocketAddr, #[source] std::io::Error),
    /// The connection ended before the response's head.
    #[error("connection termination")]
    Terminated(#[source] Option<hyper::Error>),
    /// The backend reset the stream.
    #[error("remote reset")]
    RemoteReset(#[source] Option<hyper::Error>),
    /// The backend refused the stream; it is safe to try again.
    #[error("remote refused stream reset")]
    Refused(#[source] Option<hyper::Error>),
    /// What the backend sent is not HTTP.
    #[error("protocol error")]
    Protocol(#[source] Option<hyper::Error>),
    /// The response did not come within the request's time.
    #[error("upstream request timeout")]
    Timeout,
    /// The response did not come within the attempt's time.
    #[error("upstream per try timeout")]
    AttemptTimeout,
    /// The client's body is malformed or ended early: the client's fault, not the backend's.
    #[error("the request's body is malformed")]
    RequestBody(#[source] crate::body::BoxError),
    /// The client did not send the whole request in time.
    #[error("request timeout")]
    RequestTimeout,
    /// Neither side made progress in time. `true`: the request was complete.
    #[error("stream timeout")]
    StreamIdle(bool),
    /// The response did not end within the life of a stream to a backend. `true`: the request was
    /// complete.
    #[error("upstream max stream duration reached")]
    StreamDuration(bool),
    /// The response did not begin within the life of a client's stream. `true`: the request was complete.
    #[error("downstream duration timeout")]
    RequestDuration(bool),
    /// The request was sent again, in vain.
    #[error("after retries: {last}")]
    Retried {
        /// Why the last attempt failed.
        #[source]
        last: Box<Error>,
        /// Another try was due, but none was left.
        exhausted: bool,
    },
    /// An `Upgrade` that the rule does not allow.
    #[error("upgrade refused")]
    UpgradeRefused,
}

/// What the client is told and what the access log says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The text of the body.
    pub body: Cow<'static, str>,
    /// Envoy's response flag.
    pub flag: &'static str,
    /// Envoy's response code details.
    pub details: Cow<'static, str>,
}

impl Error {
    /// The answer for the client.
    pub fn answer(&self) -> Answer {
        use StatusCode as S;
        const EMPTY: Cow<'static, str> = Cow::Borrowed("");
        let local = |status, body: &'static str, flag, details: &'static str| Answer {
            status,
            body: body.into(),
            flag,
            details: details.into(),
        };
        match self {
            Self::NoRoute => local(S::NOT_FOUND, "", "NR", "route_not_found"),
            Self::Misdirected => local(S::MISDIRECTED_REQUEST, "", "NR", "misdirected_request"),
            Self::Failed(status) => Answer {
                status: *status,
                body: EMPTY,
                flag: "",
                details: "direct_response".into(),
            },
            Self::InvalidBackend => local(S::INTERNAL_SERVER_ERROR, "", "", "direct_response"),
            Self::InvalidShare => local(S::INTERNAL_SERVER_ERROR, "", "NC", "cluster_not_found"),
            Self::NoEndpoint => local(S::SERVICE_UNAVAILABLE, "", "", "direct_response"),
            Self::EmptyShare => local(S::SERVICE_UNAVAILABLE, "", "NC", "cluster_not_found"),
            Self::NoHealthyEndpoint => local(
                S::SERVICE_UNAVAILABLE,
                "no healthy upstream",
                "UH",
                "no_healthy_upstream",
            ),
            Self::Overflow => reset(S::SERVICE_UNAVAILABLE, "UO", "overflow"),
            Self::Connect(_, error) => refused(error),
            Self::BackendTls(..) => {
                reset(S::SERVICE_UNAVAILABLE, "UF", "remote connection failure")
            }
            Self::ConnectTimeout(_) => reset(S::SERVICE_UNAVAILABLE, "UF", "connection timeout"),
            Self::Terminated(_) => reset(S::SERVICE_UNAVAILABLE, "UC", "connection termination"),
            Self::RemoteReset(_) => reset(S::SERVICE_UNAVAILABLE, "UR", "remote reset"),
            Self::Refused(_) => reset(S::SERVICE_UNAVAILABLE, "UR", "remote refused stream reset"),
            Self::Protocol(_) => reset(S::BAD_GATEWAY, "UPE", "protocol error"),
            Self::Timeout => local(
                S::GATEWAY_TIMEOUT,
                "upstream request timeout",
                "UT",
                "response_timeout",
            ),
            Self::AttemptTimeout => local(
                S::GATEWAY_TIMEOUT,
                "upstream request timeout",
                "UT",
                "upstream_per_try_timeout",
            ),
            Self::RequestBody(_) => {
                local(S::BAD_REQUEST, "Bad Request", "DPE", "http1.codec_error")
            }
            Self::RequestTimeout => local(
                S::REQUEST_TIMEOUT,
                "request timeout",
                "",
                "request_overall_timeout",
            ),
            Self::StreamIdle(complete) => local(
                late(*complete),
                "stream timeout",
                "SI",
                "stream_idle_timeout",
            ),
            Self::RequestDuration(complete) => local(
                late(*complete),
                "downstream duration timeout",
                "",
                "max_duration_timeout",
            ),
            Self::StreamDuration(complete) => local(
                late(*complete),
                "upstream max stream duration reached",
                "UMSDR",
                "upstream_max_stream_duration_reached",
            ),
            Self::Retried { last, exhausted } => last.answer().after_retries(*exhausted),
            Self::UpgradeRefused => local(S::FORBIDDEN, "", "", "upgrade_failed"),
        }
    }

    /// Why the connection or the TLS handshake failed, for the access log.
    pub fn upstream_failure(&self) -> Option<String> {
        match self {
            Self::Retried { last, .. } => last.upstream_failure(),
            Self::BackendTls(_, error) => Some(format!("TLS_error: {error}")),
            _ => None,
        }
    }
}

/// Whom a request waits for in vain: for the backend once it is complete.
fn late(complete: bool) -> StatusCode {
    if complete {
        StatusCode::GATEWAY_TIMEOUT
    } else {
        StatusCode::REQUEST_TIMEOUT
    }
}

const RESET: &str = "upstream connect error or disconnect/reset before headers. ";

fn reset(status: StatusCode, flag: &'static str, reason: &str) -> Answer {
    let word = reason.replace(' ', "_");
    Answer {
        status,
        body: format!("{RESET}reset reason: {reason}").into(),
        flag,
        details: format!("upstream_reset_before_response_started{{{word}}}").into(),
    }
}

/// Envoy says in the details what the system said.
fn refused(error: &std::io::Error) -> Answer {
    let answer = reset(
        StatusCode::SERVICE_UNAVAILABLE,
        "UF",
        "remote connection failure",
    );
    let said = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "Connection_refused".to_owned(),
        _ => error.to_string().replace(' ', "_"),
    };
    let details = format!(
        "upstream_reset_before_response_started{{remote_connection_failure|delayed_connect_error:_{said}}}"
    );
    Answer {
        details: details.into(),
        ..answer
    }
}

impl Answer {
    /// The same after retries: the text says so if it names a reset, the flags if none was left.
    fn after_retries(self, exhausted: bool) -> Self {
        let flag = match self.flag {
            flag if !exhausted => flag,
            "UC" => "URX,UC",
            "UF" => "URX,UF",
            "UR" => "URX,UR",
            "UT" => "URX,UT",
            "UPE" => "URX,UPE",
            "" => "URX",
            other => other,
        };
        let body = match self.body.strip_prefix(RESET) {
            Some(reason) => format!("{RESET}retried and the latest {reason}").into(),
            None => self.body,
        };
        Self { body, flag, ..self }
    }
}
