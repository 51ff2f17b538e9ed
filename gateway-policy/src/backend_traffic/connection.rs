//! `connection`: buffers of connections to backends.

use towergate_core::plan;

use crate::FieldError;
use crate::api_struct::api_struct;
use crate::common::Quantity;
use crate::field_path::FieldPath;
use crate::parse::buffer_size;

api_struct! {
    /// Buffers of connections to backends.
    pub struct ClusterConnection {
        /// Maximum number of bytes buffered per connection. Default: 32 KiB.
        buffer_limit: Quantity = "bufferLimit",
        /// Size of the socket's buffers in bytes. Default: that of the system.
        socket_buffer_limit: Quantity = "socketBufferLimit",
        /// Connections that are opened in advance.
        preconnect: Preconnect = "preconnect",
    }

    /// Connections that are opened in advance.
    pub struct Preconnect {
        /// Connections per endpoint, in percent of those needed. Default: 100.
        per_endpoint_percent: i64 = "perEndpointPercent" [Range(100, 300)] Ignored,
        /// Connections to the endpoints that the next requests will use, in percent of those
        /// needed. Default: 100.
        predictive_percent: i64 = "predictivePercent" [Range(100, 4294967295)] Ignored,
    }
}

impl ClusterConnection {
    /// Whether `preconnect.predictivePercent` is set.
    pub(super) fn predicts(&self) -> bool {
        let preconnect = self.preconnect.as_ref();
        preconnect.is_some_and(|preconnect| preconnect.predictive_percent.is_some())
    }

    /// Converts this section of the spec. `at` is the path of the section, for errors.
    pub(super) fn connection(
        &self,
        at: FieldPath<'_>,
    ) -> Result<plan::BackendConnection, FieldError> {
        let Self {
            buffer_limit,
            socket_buffer_limit,
            preconnect: _,
        } = self;
        let socket_buffer = at.field("socketBufferLimit");
        Ok(plan::BackendConnection {
            socket_buffer: buffer_size(socket_buffer, socket_buffer_limit.as_ref())?,
            buffer: buffer_size(at.field("bufferLimit"), buffer_limit.as_ref())?,
            ..Default::default()
        })
    }
}
