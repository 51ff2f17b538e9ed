//! `telemetry` of a BackendTrafficPolicy as it is written.

use std::collections::BTreeMap;

use crate::api_struct::{api_struct, string_enum};
use crate::common::Fraction;

string_enum! {
    /// Where a tag's value comes from.
    pub enum CustomTagType {
        Literal = "Literal",
        Environment = "Environment",
        RequestHeader = "RequestHeader",
    }
}

api_struct! {
    /// Tracing and metrics.
    pub struct Telemetry {
        /// Tracing.
        tracing: Tracing = "tracing",
        /// Metrics.
        metrics: Metrics = "metrics",
    }

    /// Metrics.
    pub struct Metrics {
        /// The name that the route has in them.
        route_stat_name: String = "routeStatName",
    }

    /// Tracing.
    pub struct Tracing {
        /// Share of the requests for which the client asks.
        client_sampling_fraction: Fraction = "clientSamplingFraction",
        /// Share of all requests.
        sampling_fraction: Fraction = "samplingFraction",
        /// The largest share.
        overall_sampling_fraction: Fraction = "overallSamplingFraction",
        /// Tags (deprecated).
        custom_tags: BTreeMap<String, CustomTag> = "customTags",
        /// Tags.
        tags: BTreeMap<String, String> = "tags",
        /// Names of spans.
        span_name: SpanName = "spanName",
    }

    /// Names of spans.
    pub struct SpanName {
        /// Of the one towards the backend.
        client: String = "client" [Required],
        /// Of the one towards the client.
        server: String = "server" [Required],
    }

    /// A tag.
    pub struct CustomTag {
        /// Where its value comes from.
        kind: CustomTagType = "type",
        /// The value.
        literal: LiteralTag = "literal",
        /// An environment variable.
        environment: EnvironmentTag = "environment",
        /// A header of the request.
        request_header: HeaderTag = "requestHeader",
    }

    /// A value.
    pub struct LiteralTag {
        /// The value.
        value: String = "value" [Required],
    }

    /// An environment variable.
    pub struct EnvironmentTag {
        /// Its name.
        name: String = "name" [Required],
        /// The value without it.
        default_value: String = "defaultValue",
    }

    /// A header of the request.
    pub struct HeaderTag {
        /// Its name.
        name: String = "name" [Required],
        /// The value without it.
        default_value: String = "defaultValue",
    }
}
