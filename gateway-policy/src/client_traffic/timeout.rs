//! `timeout`: timeouts of client connections and requests.

use std::time::Duration;

use towergate_core::plan;

use crate::FieldError;
use crate::api_struct::api_struct;
use crate::common::DurationText;
use crate::field_path::FieldPath;
use crate::parse::{duration, timeout};

api_struct! {
    /// Timeouts of client connections and requests. `0s` disables a timeout.
    pub struct Timeout {
        /// Timeouts of connections.
        tcp: TcpTimeout = "tcp",
        /// Timeouts of requests.
        http: HttpTimeout = "http",
    }

    /// Timeouts of client connections.
    pub struct TcpTimeout {
        /// Idle timeout of a proxied TCP or TLS connection. Default: 1 hour.
        idle_timeout: DurationText = "idleTimeout",
        /// Time limit for the PROXY header and the TLS ClientHello. Default: 15 seconds.
        connection_inspection_timeout: DurationText = "connectionInspectionTimeout",
        /// Time limit for the TLS handshake. Default: none.
        tls_handshake_timeout: DurationText = "tlsHandshakeTimeout",
    }

    /// Timeouts of client requests.
    pub struct HttpTimeout {
        /// Time limit for the whole request. Default: none.
        request_received_timeout: DurationText = "requestReceivedTimeout",
        /// Time limit for the head of a request. Default: none.
        request_headers_received_timeout: DurationText = "requestHeadersReceivedTimeout",
        /// Idle timeout of a connection without requests. Default: 1 hour.
        idle_timeout: DurationText = "idleTimeout",
        /// Idle timeout of a request or response. Default: 5 minutes.
        stream_idle_timeout: DurationText = "streamIdleTimeout",
    }
}

/// Timeouts of a listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListenerTimeouts {
    /// Timeouts of requests and of the TLS handshake.
    pub(super) http: plan::Timeouts,
    /// Time limit for the PROXY header and the ClientHello.
    pub(super) inspection: Duration,
    /// Idle timeout of a proxied connection. It has no effect on an HTTP listener, as in Envoy Gateway.
    pub(super) connection_idle: Option<Duration>,
}

impl Timeout {
    /// Converts this section of the spec. `at` is the path of the section, for errors.
    pub(super) fn settings(&self, at: FieldPath<'_>) -> Result<ListenerTimeouts, FieldError> {
        let Self { tcp, http } = self.clone();
        let TcpTimeout {
            idle_timeout: connection_idle,
            connection_inspection_timeout,
            tls_handshake_timeout,
        } = tcp.unwrap_or_default();
        let HttpTimeout {
            request_received_timeout,
            request_headers_received_timeout,
            idle_timeout,
            stream_idle_timeout,
        } = http.unwrap_or_default();
        let (tcp, http) = (at.field("tcp"), at.field("http"));
        let defaults = plan::Timeouts::default();
        let inspection = duration(
            tcp.field("connectionInspectionTimeout"),
            connection_inspection_timeout.as_ref(),
        )?;
        Ok(ListenerTimeouts {
            http: plan::Timeouts {
                idle: timeout(
                    http.field("idleTimeout"),
                    idle_timeout.as_ref(),
                    defaults.idle,
                )?,
                request_headers: timeout(
                    http.field("requestHeadersReceivedTimeout"),
                    request_headers_received_timeout.as_ref(),
                    defaults.request_headers,
                )?,
                request: timeout(
                    http.field("requestReceivedTimeout"),
                    request_received_timeout.as_ref(),
                    defaults.request,
                )?,
                stream_idle: timeout(
                    http.field("streamIdleTimeout"),
                    stream_idle_timeout.as_ref(),
                    defaults.stream_idle,
                )?,
                tls_handshake: timeout(
                    tcp.field("tlsHandshakeTimeout"),
                    tls_handshake_timeout.as_ref(),
                    defaults.tls_handshake,
                )?,
            },
            inspection: inspection.unwrap_or(plan::TcpSettings::default().inspection_timeout),
            connection_idle: timeout(
                tcp.field("idleTimeout"),
                connection_idle.as_ref(),
                defaults.idle,
            )?,
        })
    }
}
