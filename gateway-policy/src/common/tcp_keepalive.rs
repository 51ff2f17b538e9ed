//! `tcpKeepalive`: TCP keep-alive of client or backend connections.

use towergate_core::plan;

use crate::FieldError;
use crate::api_struct::api_struct;
use crate::common::DurationText;
use crate::field_path::FieldPath;
use crate::parse::{number, timeout};

api_struct! {
    /// TCP keep-alive. An empty object enables it with the settings of the system.
    pub struct TcpKeepalive {
        /// Number of unanswered probes after which the connection is closed. Default: that of the system.
        probes: i64 = "probes" [Range(0, 4294967295)],
        /// Idle time before the first probe. Default: that of the system.
        idle_time: DurationText = "idleTime",
        /// Time between probes. Default: that of the system.
        interval: DurationText = "interval",
    }
}

impl TcpKeepalive {
    /// Converts this section of the spec. `at` is the path of the section, for errors.
    pub(crate) fn keepalive(&self, at: FieldPath<'_>) -> Result<plan::Keepalive, FieldError> {
        let Self {
            probes,
            idle_time,
            interval,
        } = self;
        Ok(plan::Keepalive {
            idle: timeout(at.field("idleTime"), idle_time.as_ref(), None)?,
            interval: timeout(at.field("interval"), interval.as_ref(), None)?,
            probes: number(at.field("probes"), *probes)?,
        })
    }
}
