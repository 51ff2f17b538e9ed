//! `connection`: limits and buffers of client connections.

use std::time::Duration;

use towergate_core::plan;

use crate::FieldError;
use crate::api_struct::api_struct;
use crate::check::Report;
use crate::common::{DurationText, Quantity};
use crate::field_path::FieldPath;
use crate::parse::{buffer_size, number, timeout};

api_struct! {
    /// Limits and buffers of client connections.
    pub struct Connection {
        /// Limits of connections and of the requests on them.
        connection_limit: ConnectionLimit = "connectionLimit",
        /// Maximum number of bytes buffered per connection. Default: 32 KiB.
        buffer_limit: Quantity = "bufferLimit",
        /// Size of the socket's buffers in bytes. Default: that of the system.
        socket_buffer_limit: Quantity = "socketBufferLimit",
        /// Maximum number of connections accepted per event of the socket. 0: no limit. Default: 1.
        max_accept_per_socket_event: i64 = "maxAcceptPerSocketEvent" [Range(0, 4294967295), DefaultNumber(1)],
    }

    /// Limits of connections and of the requests on them.
    pub struct ConnectionLimit, rules {
        /// Maximum number of concurrent connections. Default: unlimited.
        value: i64 = "value" [Range(1, i64::MAX)],
        /// Delay before a connection above the limit is closed. Default: 0.
        close_delay: DurationText = "closeDelay",
        /// Maximum age of a connection. Default: unlimited.
        max_connection_duration: DurationText = "maxConnectionDuration",
        /// Maximum number of requests per connection. 0: unlimited. Default: unlimited.
        max_requests_per_connection: i64 = "maxRequestsPerConnection" [Range(0, 4294967295)],
        /// Maximum duration of a request, including its response. Default: unlimited.
        max_stream_duration: DurationText = "maxStreamDuration",
    }
}

impl Connection {
    /// Converts the section to limits of connections and settings of the socket.
    pub(super) fn settings(
        &self,
        at: FieldPath<'_>,
    ) -> Result<(plan::ConnectionLimits, plan::TcpSettings), FieldError> {
        let Self {
            connection_limit,
            buffer_limit,
            socket_buffer_limit,
            max_accept_per_socket_event,
        } = self;
        let limit = connection_limit.clone().unwrap_or_default();
        let accepts = at.field("maxAcceptPerSocketEvent");
        let socket_buffer = at.field("socketBufferLimit");
        let defaults = plan::TcpSettings::default();
        let limits = plan::ConnectionLimits {
            buffer: buffer_size(at.field("bufferLimit"), buffer_limit.as_ref())?,
            ..limit.limits(at.field("connectionLimit"))?
        };
        let tcp = plan::TcpSettings {
            socket_buffer: buffer_size(socket_buffer, socket_buffer_limit.as_ref())?,
            accepts_per_event: number(accepts, *max_accept_per_socket_event)?
                .unwrap_or(defaults.accepts_per_event),
            ..defaults
        };
        Ok((limits, tcp))
    }
}

impl ConnectionLimit {
    fn rules(&self, report: &mut Report) {
        let delay = self.close_delay.as_ref().and_then(DurationText::parse);
        report.rule(
            delay.is_none_or(|delay| delay == Duration::ZERO) || self.value.is_some(),
            "closeDelay can only be configured when value is set",
        );
    }

    fn limits(&self, at: FieldPath<'_>) -> Result<plan::ConnectionLimits, FieldError> {
        let Self {
            value,
            close_delay,
            max_connection_duration,
            max_requests_per_connection,
            max_stream_duration,
        } = self;
        let requests = at.field("maxRequestsPerConnection");
        let requests = number::<u64>(requests, *max_requests_per_connection)?;
        Ok(plan::ConnectionLimits {
            connections: number(at.field("value"), *value)?,
            close_delay: timeout(at.field("closeDelay"), close_delay.as_ref(), None)?,
            max_duration: timeout(
                at.field("maxConnectionDuration"),
                max_connection_duration.as_ref(),
                None,
            )?,
            max_requests: requests.filter(|requests| *requests > 0),
            max_stream_duration: timeout(
                at.field("maxStreamDuration"),
                max_stream_duration.as_ref(),
                None,
            )?,
            buffer: None,
        })
    }
}
