//! Reasons why requests to backends are reset before the response head, and the replies that Envoy sends for
//! them.

use std::io::{Error as IoError, ErrorKind};

use http::StatusCode;

use crate::LocalReply;

/// Reason why a request to a backend was reset before the response head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ResetReason {
    Overflow,
    ConnectionFailure,
    ConnectionTimeout,
    ConnectionTermination,
    RemoteReset,
    RefusedStream,
    ProtocolError,
}

impl ResetReason {
    /// Envoy's text.
    fn text(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::ConnectionFailure => "remote connection failure",
            Self::ConnectionTimeout => "connection timeout",
            Self::ConnectionTermination => "connection termination",
            Self::RemoteReset => "remote reset",
            Self::RefusedStream => "remote refused stream reset",
            Self::ProtocolError => "protocol error",
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Self::Overflow => "UO",
            Self::ConnectionFailure | Self::ConnectionTimeout => "UF",
            Self::ConnectionTermination => "UC",
            Self::RemoteReset | Self::RefusedStream => "UR",
            Self::ProtocolError => "UPE",
        }
    }

    /// The response flags if no retry was left. Requests that exceed a limit are not retried, so the flag of
    /// these requests is the same with and without retries.
    pub(crate) fn flag_without_retries(self) -> &'static str {
        match self {
            Self::Overflow => "UO",
            Self::ConnectionFailure | Self::ConnectionTimeout => "URX,UF",
            Self::ConnectionTermination => "URX,UC",
            Self::RemoteReset | Self::RefusedStream => "URX,UR",
            Self::ProtocolError => "URX,UPE",
        }
    }

    /// The reply.
    pub(crate) fn reply(self) -> LocalReply {
        let status = match self {
            Self::ProtocolError => StatusCode::BAD_GATEWAY,
            Self::Overflow
            | Self::ConnectionFailure
            | Self::ConnectionTimeout
            | Self::ConnectionTermination
            | Self::RemoteReset
            | Self::RefusedStream => StatusCode::SERVICE_UNAVAILABLE,
        };
        LocalReply::new(status, self.details(""))
            .with_body(self.body("reset reason"))
            .with_flag(self.flag())
    }

    /// The body of the reply if the request was retried.
    pub(crate) fn body_after_retries(self) -> String {
        self.body("retried and the latest reset reason")
    }

    fn body(self, introduction: &str) -> String {
        let reason = self.text();
        format!(
            "upstream connect error or disconnect/reset before headers. {introduction}: {reason}"
        )
    }

    fn details(self, cause: &str) -> String {
        let reason = self.text().replace(' ', "_");
        format!("upstream_reset_before_response_started{{{reason}{cause}}}")
    }
}

/// The reply if connecting failed. As in Envoy, the details contain the error message of the system.
pub(crate) fn connect_failure(error: &IoError) -> LocalReply {
    let cause = match error.kind() {
        ErrorKind::ConnectionRefused => "Connection_refused".to_owned(),
        _ => error.to_string().replace(' ', "_"),
    };
    let reason = ResetReason::ConnectionFailure;
    LocalReply {
        details: reason
            .details(&format!("|delayed_connect_error:_{cause}"))
            .into(),
        ..reason.reply()
    }
}
