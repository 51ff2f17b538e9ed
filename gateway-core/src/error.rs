//! Failures to obtain a response from a backend, and the local reply for each failure.
//!
//! ```
//! use towergate_core::Error;
//!
//! let reply = Error::NoRoute.reply();
//! assert_eq!(reply.status, 404);
//! assert_eq!(reply.flag, "NR");
//! ```
//!
//! [`Error::reply`] defines the reply for HTTP, [`Error::stream_outcome`] the log details for TCP, TLS
//! passthrough and UDP. Both functions match exhaustively, so a new variant must be added to both.

use std::borrow::Cow;

use http::StatusCode;

use crate::LocalReply;
use crate::client_abort::ClientAbort;
use crate::plan::EndpointAddress;
use crate::policy::RejectedBody;
use crate::reset_reason::{ResetReason, connect_failure};

/// The cause of a failed request, as reported by the HTTP codec. Only the message and the sources are public,
/// because the codec is not part of the interface of this crate.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CodecFailure(hyper::Error);

impl CodecFailure {
    pub(crate) fn new(error: hyper::Error) -> Self {
        Self(error)
    }
}

/// A failure to obtain a response from a backend. The messages are those of Envoy's local replies.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No rule of the listener matches.
    #[error("no route")]
    NoRoute,
    /// The authority belongs to a listener other than the one that the TLS handshake selected.
    #[error("misdirected")]
    Misdirected,
    /// The rule or its policy is invalid. The rule fails closed with this status.
    #[error("the configuration of the rule is invalid")]
    Failed(StatusCode),
    /// The result of a rewrite that uses values of the request is not a valid host or path.
    #[error("the rewritten host or path is invalid")]
    InvalidRewrite,
    /// The selected backendRef cannot be resolved.
    #[error("the backend reference is invalid")]
    InvalidBackend,
    /// As [`Self::InvalidBackend`], but another backend of the rule is usable.
    #[error("the backend reference is invalid")]
    InvalidShare,
    /// The backend has no endpoint.
    #[error("the backend has no endpoint")]
    NoEndpoint,
    /// As [`Self::NoEndpoint`], but another backend of the rule is usable.
    #[error("the backend has no endpoint")]
    EmptyShare,
    /// All endpoints are unhealthy, and the policy does not allow their use.
    #[error("no healthy upstream")]
    NoHealthyEndpoint,
    /// The endpoint is the host of the request (`DynamicResolver`), and none of the host's addresses is
    /// permitted.
    #[error("the addresses of the host are not permitted")]
    HostDenied,
    /// The endpoint is the host of the request (`DynamicResolver`), and this process has forwarded the request before.
    #[error("the host forwards the request back to this gateway")]
    ForwardingLoop,
    /// The endpoint is the host of the request (`DynamicResolver`), and the host has no address.
    #[error("the host has no address: {0}")]
    HostNotResolved(String),
    /// A limit of the circuit breaker is reached.
    #[error("overflow")]
    Overflow,
    /// The connection could not be established.
    #[error("connecting to {0}")]
    Connect(EndpointAddress, #[source] std::io::Error),
    /// The connection was not established within the connect timeout.
    #[error("connecting to {0} timed out")]
    ConnectTimeout(EndpointAddress),
    /// The TLS handshake with the endpoint failed.
    #[error("TLS with {0}")]
    BackendTls(EndpointAddress, #[source] std::io::Error),
    /// The connection ended before the response head was received.
    #[error("connection termination")]
    Terminated(#[source] Option<CodecFailure>),
    /// The backend reset the stream.
    #[error("remote reset")]
    RemoteReset(#[source] Option<CodecFailure>),
    /// The backend refused the stream; a retry is safe.
    #[error("remote refused stream reset")]
    Refused(#[source] Option<CodecFailure>),
    /// The response of the backend is not valid HTTP.
    #[error("protocol error")]
    Protocol(#[source] Option<CodecFailure>),
    /// The response did not arrive within the request timeout.
    #[error("upstream request timeout")]
    Timeout,
    /// The response did not arrive within the timeout of one attempt.
    #[error("upstream per try timeout")]
    AttemptTimeout,
    /// The request body is malformed, or the client disconnected before the body was complete.
    #[error("the request's body is malformed")]
    RequestBody(#[source] crate::body::BoxError),
    /// The client did not send the whole request within the request timeout.
    #[error("request timeout")]
    RequestTimeout,
    /// Neither side made progress within the idle timeout. The value is true if the request was complete.
    #[error("stream timeout")]
    StreamIdle(bool),
    /// The response did not end within the maximum duration of an upstream stream. The value is true if the
    /// request was complete.
    #[error("upstream max stream duration reached")]
    StreamDuration(bool),
    /// The response did not begin within the maximum duration of a downstream stream. The value is true if
    /// the request was complete.
    #[error("downstream duration timeout")]
    RequestDuration(bool),
    /// All retries failed.
    #[error("after retries: {last}")]
    Retried {
        /// Failure of the last attempt.
        #[source]
        last: Box<Error>,
        /// Whether another retry was required, but the maximum number of retries was reached.
        exhausted: bool,
    },
    /// The rule does not allow the requested `Upgrade`.
    #[error("upgrade refused")]
    UpgradeRefused,
}

impl Error {
    /// The local reply for this error. It contains the response to the client, and the flag and details for
    /// the access log.
    pub fn reply(&self) -> LocalReply {
        use StatusCode as S;
        let fixed = |status, flag, details: &'static str| local(status, "", flag, details);
        match self {
            Self::NoRoute => fixed(S::NOT_FOUND, "NR", "route_not_found"),
            Self::Misdirected => fixed(S::MISDIRECTED_REQUEST, "NR", "misdirected_request"),
            Self::Failed(status) => fixed(*status, "", "direct_response"),
            Self::InvalidRewrite => fixed(S::INTERNAL_SERVER_ERROR, "", "invalid_rewrite"),
            Self::InvalidBackend => fixed(S::INTERNAL_SERVER_ERROR, "", "direct_response"),
            Self::InvalidShare => fixed(S::INTERNAL_SERVER_ERROR, "NC", "cluster_not_found"),
            Self::NoEndpoint => fixed(S::SERVICE_UNAVAILABLE, "", "direct_response"),
            Self::EmptyShare => fixed(S::SERVICE_UNAVAILABLE, "NC", "cluster_not_found"),
            Self::UpgradeRefused => fixed(S::FORBIDDEN, "", "upgrade_failed"),
            Self::NoHealthyEndpoint => no_healthy_upstream("no_healthy_upstream"),
            Self::HostNotResolved(cause) => {
                let cause = cause.replace(' ', "_");
                no_healthy_upstream(format!("dns_resolution_failure{{{cause}}}"))
            }
            Self::HostDenied => local(
                S::FORBIDDEN,
                "RBAC: access denied",
                "",
                "rbac_access_denied_matched_policy[DENY]",
            ),
            Self::ForwardingLoop => local(S::LOOP_DETECTED, "loop detected", "", "forwarding_loop"),
            Self::Overflow => ResetReason::Overflow.reply(),
            Self::Connect(_, error) => connect_failure(error),
            Self::BackendTls(..) => ResetReason::ConnectionFailure.reply(),
            Self::ConnectTimeout(_) => ResetReason::ConnectionTimeout.reply(),
            Self::Terminated(_) => ResetReason::ConnectionTermination.reply(),
            Self::RemoteReset(_) => ResetReason::RemoteReset.reply(),
            Self::Refused(_) => ResetReason::RefusedStream.reply(),
            Self::Protocol(_) => ResetReason::ProtocolError.reply(),
            Self::RequestBody(cause) => match RejectedBody::reply_in(&**cause) {
                Some(reply) => reply.clone(),
                None => match ClientAbort::of(&**cause) {
                    Some(abort) => abort.reply(),
                    None => local(S::BAD_REQUEST, "Bad Request", "DPE", "http1.codec_error"),
                },
            },
            Self::Timeout => upstream_timeout("response_timeout"),
            Self::AttemptTimeout => upstream_timeout("upstream_per_try_timeout"),
            Self::RequestTimeout => local(
                S::REQUEST_TIMEOUT,
                "request timeout",
                "",
                "request_overall_timeout",
            ),
            Self::StreamIdle(complete) => local(
                timeout_status(*complete),
                "stream timeout",
                "SI",
                "stream_idle_timeout",
            ),
            Self::RequestDuration(complete) => local(
                timeout_status(*complete),
                "downstream duration timeout",
                "",
                "max_duration_timeout",
            ),
            Self::StreamDuration(complete) => local(
                timeout_status(*complete),
                "upstream max stream duration reached",
                "UMSDR",
                "upstream_max_stream_duration_reached",
            ),
            Self::Retried { last, exhausted } => last.reply_after_retries(*exhausted),
        }
    }

    /// The reply if this error is the failure of the last of several attempts. If the body of the reply names
    /// a reset, the body also mentions the retries. If `exhausted` is true, the flags contain `URX`.
    fn reply_after_retries(&self, exhausted: bool) -> LocalReply {
        let mut reply = self.reply();
        let reset = self.reset_reason();
        if let Some(reason) = reset {
            reply.body = reason.body_after_retries().into();
        }
        if exhausted {
            reply.flag = match (self, reset) {
                (_, Some(reason)) => reason.flag_without_retries(),
                (Self::Timeout | Self::AttemptTimeout, None) => "URX,UT",
                (_, None) if reply.flag.is_empty() => "URX",
                (_, None) => reply.flag,
            };
        }
        reply
    }

    /// The reason of the reset, if the request to the backend was reset before the response head was
    /// received.
    fn reset_reason(&self) -> Option<ResetReason> {
        match self {
            Self::Overflow => Some(ResetReason::Overflow),
            Self::Connect(..) | Self::BackendTls(..) => Some(ResetReason::ConnectionFailure),
            Self::ConnectTimeout(_) => Some(ResetReason::ConnectionTimeout),
            Self::Terminated(_) => Some(ResetReason::ConnectionTermination),
            Self::RemoteReset(_) => Some(ResetReason::RemoteReset),
            Self::Refused(_) => Some(ResetReason::RefusedStream),
            Self::Protocol(_) => Some(ResetReason::ProtocolError),
            Self::NoRoute
            | Self::Misdirected
            | Self::Failed(_)
            | Self::InvalidRewrite
            | Self::InvalidBackend
            | Self::InvalidShare
            | Self::NoEndpoint
            | Self::EmptyShare
            | Self::NoHealthyEndpoint
            | Self::HostDenied
            | Self::ForwardingLoop
            | Self::HostNotResolved(_)
            | Self::Timeout
            | Self::AttemptTimeout
            | Self::RequestBody(_)
            | Self::RequestTimeout
            | Self::StreamIdle(_)
            | Self::StreamDuration(_)
            | Self::RequestDuration(_)
            | Self::Retried { .. }
            | Self::UpgradeRefused => None,
        }
    }

    /// Response flags and details in the access log for a TCP, TLS or UDP session that did not reach a
    /// backend.
    pub fn stream_outcome(&self) -> (&'static str, &'static str) {
        match self {
            Self::NoRoute => ("NR", "no_route"),
            Self::InvalidBackend | Self::InvalidShare => ("NC", "invalid_backend"),
            Self::NoEndpoint | Self::EmptyShare => ("UH", "no_endpoint"),
            Self::NoHealthyEndpoint => ("UH", "no_healthy_upstream"),
            Self::HostDenied => ("UAEX", "host_denied"),
            Self::ForwardingLoop => ("", "forwarding_loop"),
            Self::HostNotResolved(_) => ("UH", "host_not_resolved"),
            Self::Overflow => ("UO", "overflow"),
            Self::ConnectTimeout(_) => ("UF,URX", "connection_timeout"),
            Self::Connect(..)
            | Self::BackendTls(..)
            | Self::Terminated(_)
            | Self::RemoteReset(_)
            | Self::Refused(_)
            | Self::Protocol(_)
            | Self::Timeout
            | Self::AttemptTimeout
            | Self::RequestBody(_)
            | Self::RequestTimeout
            | Self::StreamIdle(_)
            | Self::StreamDuration(_)
            | Self::RequestDuration(_)
            | Self::Misdirected
            | Self::Failed(_)
            | Self::InvalidRewrite
            | Self::Retried { .. }
            | Self::UpgradeRefused => ("UF,URX", "remote_connection_failure"),
        }
    }

    /// The reason why the TLS handshake with the endpoint failed, for the access log.
    pub fn upstream_failure(&self) -> Option<String> {
        match self {
            Self::Retried { last, .. } => last.upstream_failure(),
            Self::BackendTls(_, error) => Some(format!("TLS_error: {error}")),
            Self::NoRoute
            | Self::Misdirected
            | Self::Failed(_)
            | Self::InvalidRewrite
            | Self::InvalidBackend
            | Self::InvalidShare
            | Self::NoEndpoint
            | Self::EmptyShare
            | Self::NoHealthyEndpoint
            | Self::HostDenied
            | Self::ForwardingLoop
            | Self::HostNotResolved(_)
            | Self::Overflow
            | Self::Connect(..)
            | Self::ConnectTimeout(_)
            | Self::Terminated(_)
            | Self::RemoteReset(_)
            | Self::Refused(_)
            | Self::Protocol(_)
            | Self::Timeout
            | Self::AttemptTimeout
            | Self::RequestBody(_)
            | Self::RequestTimeout
            | Self::StreamIdle(_)
            | Self::StreamDuration(_)
            | Self::RequestDuration(_)
            | Self::UpgradeRefused => None,
        }
    }
}

/// The status of a timeout: 504 if the request was complete, because the backend caused the delay; otherwise
/// 408.
fn timeout_status(complete: bool) -> StatusCode {
    if complete {
        StatusCode::GATEWAY_TIMEOUT
    } else {
        StatusCode::REQUEST_TIMEOUT
    }
}

/// Creates a local reply with the response flags `flag`.
fn local(
    status: StatusCode,
    body: &'static str,
    flag: &'static str,
    details: impl Into<Cow<'static, str>>,
) -> LocalReply {
    LocalReply::new(status, details)
        .with_body(body)
        .with_flag(flag)
}

fn no_healthy_upstream(details: impl Into<Cow<'static, str>>) -> LocalReply {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    local(status, "no healthy upstream", "UH", details)
}

fn upstream_timeout(details: &'static str) -> LocalReply {
    let status = StatusCode::GATEWAY_TIMEOUT;
    local(status, "upstream request timeout", "UT", details)
}

impl From<Error> for LocalReply {
    fn from(error: Error) -> Self {
        error.reply()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewrite_that_fails_differs_from_an_invalid_rule_in_the_access_log() {
        let invalid_rule = Error::Failed(StatusCode::INTERNAL_SERVER_ERROR).reply();
        let failed_rewrite = Error::InvalidRewrite.reply();

        assert_eq!(failed_rewrite.status, invalid_rule.status);
        assert_eq!(&*invalid_rule.details, "direct_response");
        assert_eq!(&*failed_rewrite.details, "invalid_rewrite");
    }
}
