//! Global rate limit (BackendTrafficPolicy `rateLimit.global`): a service counts the requests of all gateways.
//!
//! ```text
//! request ──descriptors of the rules that match──> rate limit service (Redis) ──> pass, or 429
//! plan ──ServiceConfig──> the service's own configuration: the limit of each descriptor
//! ```
//!
//! The protocol is Envoy's `envoy.service.ratelimit.v3.RateLimitService` over gRPC. The descriptors are those
//! of Envoy Gateway, so the same services can be used. The gateway sends the rules that match; the limits are
//! in the configuration of the service. [`ServiceConfig`] writes this configuration for
//! [envoyproxy/ratelimit](https://github.com/envoyproxy/ratelimit).
//!
//! A request that no rule matches causes no call. If the service does not respond in time, requests are
//! allowed by default. With [`RateLimitService::fail_closed`], they are rejected.

mod answer;
mod descriptor;
mod message;
mod policy;
mod service_config;

pub use descriptor::{Descriptor, DescriptorEntry};
pub use policy::GlobalRateLimitPolicy;
pub use service_config::{ServiceConfig, ServiceDescriptor, ServiceLimit};

use std::net::Ipv6Addr;
use std::str::FromStr;
use std::time::Duration;

use http::request;
use serde::{Deserialize, Serialize};

use crate::rate_limit::Selector;
use crate::request_metadata::MetadataKey;

/// Default timeout of the service, as in Envoy Gateway.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_millis(20);

/// Limits whose requests the rate limit service counts.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct GlobalRateLimit {
    /// The rate limit service that counts the requests.
    pub service: RateLimitService,
    /// Domain of limits that are not shared: `namespace/name` of the Gateway and the name of the listener.
    pub listener: String,
    /// Domain of shared limits: `namespace/name` of the policy.
    pub policy: String,
    /// Whether responses have the `x-ratelimit-*` fields. A rule can override this value.
    pub headers: bool,
    /// Rules. A request counts towards the limits of all rules that match.
    pub rules: Vec<GlobalLimitRule>,
}

/// The rate limit service that the operator has configured.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct RateLimitService {
    /// Host name or IP address.
    pub host: String,
    /// TCP port, for gRPC without TLS.
    pub port: u16,
    /// Timeout of a call.
    pub timeout: Duration,
    /// Whether requests receive 500 while the service does not respond. Otherwise they are
    /// allowed.
    pub fail_closed: bool,
}

impl RateLimitService {
    /// A service at this address with the default timeout. Requests are allowed while it does not
    /// respond.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            timeout: DEFAULT_TIMEOUT,
            fail_closed: false,
        }
    }
}

impl FromStr for RateLimitService {
    type Err = InvalidServiceAddress;

    /// Parses `HOST:PORT` or `[IPV6]:PORT`.
    fn from_str(text: &str) -> Result<Self, InvalidServiceAddress> {
        let invalid = || InvalidServiceAddress(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let port = port.parse().ok().filter(|port| *port != 0);
        let inner = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = match inner {
            Some(address) if address.parse::<Ipv6Addr>().is_ok() => address,
            None if is_host_name(host) => host,
            Some(_) | None => return Err(invalid()),
        };
        Ok(Self::new(host, port.ok_or_else(invalid)?))
    }
}

fn is_host_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !text.is_empty() && text.bytes().all(allowed)
}

/// A string that is not the address of a service.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is not HOST:PORT")]
pub struct InvalidServiceAddress(String);

/// A limit of the requests that the selectors match.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct GlobalLimitRule {
    /// Selectors. All of them must match. Empty: all requests.
    pub selectors: Vec<Selector>,
    /// Number of requests in a period. 0: all requests are rejected.
    pub requests: u32,
    /// Period of the limit.
    pub unit: LimitUnit,
    /// Whether all routes of the policy share the limit.
    pub shared: bool,
    /// Whether requests are counted and never rejected.
    pub shadow: bool,
    /// Whether responses have the `x-ratelimit-*` fields. `None`: the value of
    /// [`GlobalRateLimit::headers`].
    pub headers: Option<bool>,
    /// Metadata value of a request that replaces `requests` and `unit`, if the request has it.
    pub limit_from: Option<MetadataKey>,
    /// Number by which a request counts towards the limit. `None`: the service's default, which is 1.
    pub request_cost: Option<LimitCost>,
    /// Number by which a response counts towards the limit, in addition to its request. It is added at the
    /// end of the response.
    pub response_cost: Option<LimitCost>,
}

/// The number by which a request or response counts towards a limit.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum LimitCost {
    /// The same number for all requests or responses.
    Fixed(u32),
    /// A metadata value. A request without this value counts for 1; a response without it is not counted.
    Metadata(MetadataKey),
}

impl LimitCost {
    /// The number for a request; `None`: the request has no valid value.
    fn of(&self, head: &request::Parts) -> Option<u32> {
        match self {
            Self::Fixed(cost) => Some(*cost),
            Self::Metadata(key) => key.cost(head),
        }
    }
}

impl GlobalLimitRule {
    /// A limit that applies to all requests.
    pub fn new(requests: u32, unit: LimitUnit) -> Self {
        Self {
            selectors: Vec::new(),
            requests,
            unit,
            shared: false,
            shadow: false,
            headers: None,
            limit_from: None,
            request_cost: None,
            response_cost: None,
        }
    }
}

/// The period of a limit.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum LimitUnit {
    /// One second.
    Second,
    /// One minute.
    Minute,
    /// One hour.
    Hour,
    /// One day.
    Day,
    /// Seven days.
    Week,
    /// 30 days.
    Month,
    /// 365 days.
    Year,
}

impl LimitUnit {
    /// The number of the unit in the protocol of the service (`envoy.type.v3.RateLimitUnit`).
    const fn number(self) -> i32 {
        match self {
            Self::Second => 1,
            Self::Minute => 2,
            Self::Hour => 3,
            Self::Day => 4,
            Self::Month => 5,
            Self::Year => 6,
            Self::Week => 7,
        }
    }

    /// The name of the unit in the configuration of the service.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// The duration of the unit, as in Envoy Gateway.
    pub const fn period(self) -> Duration {
        const DAY: u64 = 86_400;
        Duration::from_secs(match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => DAY,
            Self::Week => 7 * DAY,
            Self::Month => 30 * DAY,
            Self::Year => 365 * DAY,
        })
    }
}

#[cfg(test)]
mod tests;
