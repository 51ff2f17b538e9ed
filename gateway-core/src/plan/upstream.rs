//! What a BackendTrafficPolicy says of connections to backends and of endpoints that fail.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Http2Settings, Keepalive};

/// The shortest idle time of streams whose rule limits the whole request, as in Envoy Gateway.
const LONG_IDLE: Duration = Duration::from_secs(3600);

/// How long a request of a rule may go without progress.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StreamIdle {
    /// As the listener says.
    #[default]
    Listener,
    /// The rule sets the time of whole requests: an hour, or that time if it is longer; without a limit
    /// if that has none.
    Request,
    /// Without a limit.
    Never,
    /// So long.
    After(Duration),
}

impl StreamIdle {
    /// The limit, given that of the listener and the rule's time of whole requests.
    pub fn limit(self, listener: Option<Duration>, request: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Listener => listener,
            Self::Request => request.map(|request| request.max(LONG_IDLE)),
            Self::Never => None,
            Self::After(limit) => Some(limit),
        }
    }
}

/// Retries as a share of the requests that are under way.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct RetryBudget {
    /// The share: so many out of `denominator`.
    pub numerator: u32,
    /// Never 0.
    pub denominator: u32,
    /// Retries that are always allowed. Envoy: 3.
    pub min_retries: u32,
}

impl RetryBudget {
    /// How many retries may be under way beside so many requests.
    pub fn limit(&self, requests: u32) -> u32 {
        let share = u64::from(requests) * u64::from(self.numerator) / u64::from(self.denominator);
        u32::try_from(share)
            .unwrap_or(u32::MAX)
            .max(self.min_retries)
    }
}

/// Connections to backends.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct BackendConnection {
    /// TCP keep-alive; `None`: as the gateway does by itself.
    pub keepalive: Option<Keepalive>,
    /// Size of the socket's buffers, in bytes.
    pub socket_buffer: Option<usize>,
    /// Bytes buffered per connection and direction (soft).
    pub buffer: Option<usize>,
    /// HTTP/2, for backends that speak it.
    pub http2: Http2Settings,
}

/// When endpoints that fail get no requests for a while (Envoy: outlier detection).
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct OutlierDetection {
    /// Failures to connect and time-outs count apart from the answers of endpoints.
    pub split_local: bool,
    /// Time between two looks at who comes back.
    pub interval: Duration,
    /// Failures to connect in a row, with `split_local`; 0: not looked at.
    pub consecutive_local: u32,
    /// 502, 503 and 504 in a row; 0: not looked at.
    pub consecutive_gateway: u32,
    /// 5xx in a row; 0: not looked at.
    pub consecutive_5xx: u32,
    /// How long an endpoint is out, times how often it was.
    pub base_time: Duration,
    /// The largest share of the endpoints that may be out, in per cent.
    pub max_percent: u32,
    /// Out is who fails for so many per cent of an interval's requests.
    pub failure_percent: Option<u32>,
    /// One may be out in any case.
    pub always_one: bool,
}

impl OutlierDetection {
    /// Nobody is ever out.
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
