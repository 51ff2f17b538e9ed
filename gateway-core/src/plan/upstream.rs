//! Settings of connections to backends, retry budgets and outlier detection (BackendTrafficPolicy).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Http2Settings, Keepalive};

/// Minimum idle timeout of a request whose rule sets a request timeout, as in Envoy Gateway.
const LONG_IDLE: Duration = Duration::from_secs(3600);

/// Idle timeout of the requests of a rule.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StreamIdle {
    /// The idle timeout of the listener.
    #[default]
    Listener,
    /// The request timeout of the rule, but at least 1 h. If the rule has no request timeout, there is no
    /// limit.
    Request,
    /// No limit.
    Never,
    /// A fixed idle timeout.
    After(Duration),
}

impl StreamIdle {
    /// The idle timeout. `listener` is the idle timeout of the listener, `request` the request timeout of the
    /// rule. `None`: no limit.
    pub fn limit(self, listener: Option<Duration>, request: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Listener => listener,
            Self::Request => request.map(|request| request.max(LONG_IDLE)),
            Self::Never => None,
            Self::After(limit) => Some(limit),
        }
    }
}

/// Limit of retries relative to the requests in flight: `numerator` divided by `denominator`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct RetryBudget {
    /// Numerator of the ratio.
    pub numerator: u32,
    /// Denominator of the ratio. Never 0.
    pub denominator: u32,
    /// Number of retries in flight that are always allowed. Envoy default: 3.
    pub min_retries: u32,
}

impl RetryBudget {
    /// Maximum number of retries in flight if `requests` requests are in flight.
    pub fn limit(&self, requests: u32) -> u32 {
        let share = u64::from(requests) * u64::from(self.numerator) / u64::from(self.denominator);
        u32::try_from(share)
            .unwrap_or(u32::MAX)
            .max(self.min_retries)
    }
}

/// Settings of connections to a backend.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct BackendConnection {
    /// TCP keep-alive; `None`: the first probe follows after 60 s, further probes every 10 s. Default:
    /// `None`.
    pub keepalive: Option<Keepalive>,
    /// Size of the socket buffers in bytes; `None`: the system default. Default: `None`.
    pub socket_buffer: Option<usize>,
    /// Soft limit of the bytes that are buffered per connection and direction. `None`: the limits of the HTTP
    /// codec. Default: `None`.
    pub buffer: Option<usize>,
    /// HTTP/2 settings, for HTTP/2 backends.
    pub http2: Http2Settings,
    /// Version of the PROXY header at the start of each connection; `None`: no header. Default: `None`.
    pub proxy_header: Option<ProxyHeaderVersion>,
}

/// Version of the PROXY header on connections to a backend.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum ProxyHeaderVersion {
    /// Version 1, a line of text.
    V1,
    /// Version 2, binary.
    V2,
}

/// Outlier detection as in Envoy. Endpoints that fail are ejected for a limited time.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct OutlierDetection {
    /// Whether connection failures and timeouts are counted separately from responses (Envoy
    /// `split_external_local_origin_errors`). If false, connection failures are counted as responses with
    /// 503, and timeouts as responses with 504. Default: false.
    pub split_local: bool,
    /// Interval between reviews. A review ends ejections and evaluates failure rates. Default: 3 s.
    pub interval: Duration,
    /// Number of consecutive connection failures and timeouts before ejection, if `split_local` is set; 0:
    /// disabled. Default: 5.
    pub consecutive_local: u32,
    /// Number of consecutive responses with 502, 503 or 504 before ejection; 0: disabled. Default: 0.
    pub consecutive_gateway: u32,
    /// Number of consecutive 5xx responses before ejection; 0: disabled. Default: 5.
    pub consecutive_5xx: u32,
    /// Base ejection time. It is multiplied by the number of ejections of the endpoint. Default: 30 s.
    pub base_time: Duration,
    /// Maximum percentage of ejected endpoints. Default: 10.
    pub max_percent: u32,
    /// Percentage of failed requests in an interval at which an endpoint is ejected; `None`: disabled.
    /// Default: `None`.
    pub failure_percent: Option<u32>,
    /// Whether one endpoint can be ejected even if this exceeds `max_percent`. Default: false.
    pub always_one: bool,
}

impl OutlierDetection {
    /// Settings that eject no endpoint.
    pub(crate) const NONE: Self = Self {
        split_local: false,
        interval: Duration::from_secs(3600),
        consecutive_local: 0,
        consecutive_gateway: 0,
        consecutive_5xx: 0,
        base_time: Duration::ZERO,
        max_percent: 0,
        failure_percent: None,
        always_one: false,
    };
}

impl Default for OutlierDetection {
    /// The defaults of Envoy Gateway.
    fn default() -> Self {
        Self {
            split_local: false,
            interval: Duration::from_secs(3),
            consecutive_local: 5,
            consecutive_gateway: 0,
            consecutive_5xx: 5,
            base_time: Duration::from_secs(30),
            max_percent: 10,
            failure_percent: None,
            always_one: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn a_limit_for_whole_requests_makes_room_for_silence() {
        for (idle, request, expected) in [
            (StreamIdle::Listener, seconds(15), seconds(300)),
            (StreamIdle::Request, seconds(15), seconds(3600)),
            (StreamIdle::Request, seconds(7200), seconds(7200)),
            (StreamIdle::Request, None, None),
            (StreamIdle::Never, seconds(15), None),
            (StreamIdle::After(Duration::from_secs(1)), None, seconds(1)),
        ] {
            assert_eq!(idle.limit(seconds(300), request), expected, "{idle:?}");
        }
    }

    #[test]
    fn a_budget_is_a_share_but_never_less_than_its_minimum() {
        let budget = RetryBudget {
            numerator: 25,
            denominator: 100,
            min_retries: 3,
        };

        let limits = [0, 15, 16, 1000, u32::MAX].map(|requests| budget.limit(requests));

        assert_eq!(limits, [3, 3, 4, 250, u32::MAX / 4]);
    }
}
