//! `timeout`: timeouts of requests and connections to backends.

use std::time::Duration;

use towergate_core::plan;

use crate::FieldError;
use crate::api_struct::api_struct;
use crate::common::DurationText;
use crate::field_path::FieldPath;
use crate::parse::{duration, positive_duration, timeout};

api_struct! {
    /// Timeouts of requests and connections to backends.
    pub struct ClusterTimeout {
        /// Timeouts of connections.
        tcp: ClusterTcpTimeout = "tcp",
        /// Timeouts of requests and HTTP connections.
        http: ClusterHttpTimeout = "http",
    }

    /// Timeouts of TCP connections to backends.
    pub struct ClusterTcpTimeout {
        /// Time limit for a new connection, including TLS. Default: 10 seconds.
        connect_timeout: DurationText = "connectTimeout",
    }

    /// Timeouts of requests and HTTP connections to backends. `0s` disables a timeout.
    pub struct ClusterHttpTimeout {
        /// Idle timeout of a connection without requests. Default: 1 hour.
        connection_idle_timeout: DurationText = "connectionIdleTimeout",
        /// Maximum age of a connection. Default: unlimited.
        max_connection_duration: DurationText = "maxConnectionDuration",
        /// Time limit from the end of the request to the head of its response. Default: 15 seconds.
        request_timeout: DurationText = "requestTimeout",
        /// Time limit from the start of a request to the end of its response or tunnel. Default:
        /// unlimited.
        max_stream_duration: DurationText = "maxStreamDuration",
        /// Idle timeout of a request or response. Default: that of the listener.
        stream_idle_timeout: DurationText = "streamIdleTimeout",
    }
}

impl ClusterTimeout {
    /// Converts the section to traffic settings. Absent fields have the defaults of [`plan::Traffic`].
    pub(super) fn traffic(&self, at: FieldPath<'_>) -> Result<plan::Traffic, FieldError> {
        let Self { tcp, http } = self.clone();
        let ClusterTcpTimeout { connect_timeout } = tcp.unwrap_or_default();
        let ClusterHttpTimeout {
            connection_idle_timeout,
            max_connection_duration,
            request_timeout,
            max_stream_duration,
            stream_idle_timeout,
        } = http.unwrap_or_default();
        let (tcp, http) = (at.field("tcp"), at.field("http"));
        let connect = positive_duration(tcp.field("connectTimeout"), connect_timeout.as_ref())?;
        let idle = duration(
            http.field("streamIdleTimeout"),
            stream_idle_timeout.as_ref(),
        )?;
        let defaults = plan::Traffic::default();
        Ok(plan::Traffic {
            // If the policy sets `requestTimeout`, the listener's idle timeout does not apply.
            stream_idle: match idle {
                Some(Duration::ZERO) => plan::StreamIdle::Never,
                Some(idle) => plan::StreamIdle::After(idle),
                None if request_timeout.is_some() => plan::StreamIdle::Request,
                None => plan::StreamIdle::Listener,
            },
            request_timeout: timeout(
                http.field("requestTimeout"),
                request_timeout.as_ref(),
                defaults.request_timeout,
            )?,
            connect_timeout: connect.unwrap_or(defaults.connect_timeout),
            idle_timeout: timeout(
                http.field("connectionIdleTimeout"),
                connection_idle_timeout.as_ref(),
                defaults.idle_timeout,
            )?,
            max_connection_duration: timeout(
                http.field("maxConnectionDuration"),
                max_connection_duration.as_ref(),
                None,
            )?,
            max_stream_duration: timeout(
                http.field("maxStreamDuration"),
                max_stream_duration.as_ref(),
                None,
            )?,
            ..defaults
        })
    }
}
