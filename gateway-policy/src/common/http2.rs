//! `http2`: settings of HTTP/2 connections with clients or backends.

use towergate_core::plan;

use super::{DurationText, Quantity};
use crate::FieldError;
use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::field_path::FieldPath;
use crate::parse::{bytes, number, timeout};

string_enum! {
    /// Scope of the error that a malformed message causes.
    pub enum InvalidMessageAction {
        TerminateConnection = "TerminateConnection",
        TerminateStream = "TerminateStream",
    }
}

api_struct! {
    /// Settings of HTTP/2.
    pub struct Http2 {
        /// Initial flow-control window of a stream, 65535 to 2147483647 bytes. Default: 64 KiB.
        initial_stream_window_size: Quantity = "initialStreamWindowSize",
        /// Initial flow-control window of a connection, 65535 to 2147483647 bytes. Default: 1 MiB.
        initial_connection_window_size: Quantity = "initialConnectionWindowSize",
        /// Maximum number of concurrent streams of a connection. Default: 100.
        max_concurrent_streams: i64 = "maxConcurrentStreams" [Range(1, 2147483647)],
        /// Whether a malformed message ends its stream or the whole connection. Default:
        /// `TerminateStream` (Envoy Gateway: `TerminateConnection`).
        on_invalid_message: InvalidMessageAction = "onInvalidMessage",
        /// Liveness check of connections by PING frames. Default: off.
        connection_keepalive: ConnectionKeepalive = "connectionKeepalive",
    }

    /// Liveness check by PING frames.
    pub struct ConnectionKeepalive, rules {
        /// Time between two PINGs.
        interval: DurationText = "interval",
        /// Time to wait for the acknowledgement before the connection is closed.
        timeout: DurationText = "timeout",
        /// Random addition to the interval, in percent. Default: 15.
        interval_jitter: i64 = "intervalJitter" [Range(0, 100)],
        /// Idle time after which a PING is sent.
        idle_interval: DurationText = "idleInterval",
    }
}

/// Allowed sizes of flow-control windows (RFC 9113, section 6.9).
const WINDOW: (u64, u64) = (65_535, (1 << 31) - 1);

impl Http2 {
    /// Converts this section of the spec. `at` is the path of the section, for errors.
    pub(crate) fn settings(&self, at: FieldPath<'_>) -> Result<plan::Http2Settings, FieldError> {
        let Self {
            initial_stream_window_size,
            initial_connection_window_size,
            max_concurrent_streams,
            on_invalid_message,
            connection_keepalive,
        } = self;
        let end_on_invalid = match on_invalid_message {
            // RFC 9113, section 8.1.1: a malformed message is an error of its stream.
            None | Some(InvalidMessageAction::TerminateStream) => false,
            Some(InvalidMessageAction::TerminateConnection) => true,
            Some(InvalidMessageAction::Other(value)) => {
                let field = at.field("onInvalidMessage");
                return Err(FieldError::unknown_value(field, value));
            }
        };
        let pings = match connection_keepalive {
            Some(keepalive) => keepalive.settings(at.field("connectionKeepalive"))?,
            None => plan::Http2Settings::default(),
        };
        let streams = at.field("maxConcurrentStreams");
        let max_concurrent_streams = match number(streams, *max_concurrent_streams)? {
            Some(0) => return Err(FieldError::invalid(streams, "must be greater than 0")),
            max => max.unwrap_or(pings.max_concurrent_streams),
        };
        Ok(plan::Http2Settings {
            end_on_invalid,
            max_concurrent_streams,
            stream_window: window(
                at.field("initialStreamWindowSize"),
                initial_stream_window_size.as_ref(),
                pings.stream_window,
            )?,
            connection_window: window(
                at.field("initialConnectionWindowSize"),
                initial_connection_window_size.as_ref(),
                pings.connection_window,
            )?,
            ..pings
        })
    }
}

fn window(field: FieldPath<'_>, size: Option<&Quantity>, default: u32) -> Result<u32, FieldError> {
    let size = bytes(field, size, WINDOW.0, WINDOW.1)?;
    Ok(size.map_or(default, |size| u32::try_from(size).unwrap_or(u32::MAX >> 1)))
}

impl ConnectionKeepalive {
    fn rules(&self, report: &mut Report) {
        let interval = self.interval.as_ref().and_then(DurationText::parse);
        let timeout = self.timeout.as_ref().and_then(DurationText::parse);
        if let (Some(interval), Some(timeout)) = (interval, timeout) {
            report.rule(timeout < interval, "timeout must be less than interval");
        }
    }

    fn settings(&self, at: FieldPath<'_>) -> Result<plan::Http2Settings, FieldError> {
        let Self {
            interval,
            timeout: answer,
            interval_jitter,
            idle_interval,
        } = self;
        // A merge of two valid policies can violate the rule.
        Report::at(at, |report| self.rules(report)).require_valid()?;
        let defaults = plan::Http2Settings::default();
        let jitter = number(at.field("intervalJitter"), *interval_jitter)?;
        let idle = timeout(at.field("idleInterval"), idle_interval.as_ref(), None)?;
        let interval = timeout(at.field("interval"), interval.as_ref(), None)?;
        let answer = timeout(at.field("timeout"), answer.as_ref(), None)?;
        if answer.is_some() && interval.is_none() && idle.is_none() {
            return Err(FieldError::invalid(
                at.field("timeout"),
                "has no effect without interval or idleInterval",
            ));
        }
        Ok(plan::Http2Settings {
            keepalive_interval: interval,
            keepalive_timeout: answer,
            keepalive_jitter: jitter.unwrap_or(defaults.keepalive_jitter),
            keepalive_idle: idle,
            ..defaults
        })
    }
}
