//! A rate limit at work.

use std::hash::{BuildHasher, DefaultHasher, Hasher};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use http::{HeaderName, HeaderValue, StatusCode, request};
use towergate_core::policy::{Guard, Rejection, ResponseEdits};

use super::bucket::{Bucket, Level};
use super::distinct::DistinctBuckets;
use super::selector::Selector;
use super::Limit;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// What Envoy says of the limit that it has when a policy names none.
const UNLIMITED: Level = Level {
    limit: u32::MAX as u64,
    remaining: u32::MAX as u64,
    reset: 0,
};

/// A [`LocalRateLimit`](super::LocalRateLimit) with its counters.
#[derive(Debug)]
pub struct Limiter {
    /// The strictest first.
    rules: Vec<Counted>,
    default: Option<Counted>,
    headers: bool,
}

/// A limit with its counter.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) selectors: Vec<Selector>,
    pub(super) limit: Limit,
    pub(super) counter: Counter,
    /// Whether responses tell about it.
    pub(super) headers: bool,
}

/// Where requests are counted.
#[derive(Debug)]
pub(super) enum Counter {
    /// All together.
    One(Arc<Bucket>),
    /// Each value apart.
    Each(Arc<DistinctBuckets>),
}

impl Limiter {
    /// The limiter of these rules, in any order.
    pub(super) fn new(mut rules: Vec<Counted>, default: Option<Counted>, headers: bool) -> Self {
        rules.sort_by(|a, b| {
            let rate = |a: &Limit, b: &Limit| u128::from(a.requests) * b.period.as_nanos();
            rate(&a.limit, &b.limit).cmp(&rate(&b.limit, &a.limit))
        });
        Self {
            rules,
            default,
            headers,
        }
    }

    /// Decides about a request that comes at `now`, in nanoseconds since any fixed moment.
    fn check_at(&self, head: &request::Parts, now: u64) -> Result<ResponseEdits, Rejection> {
        let mut strictest = None;
        for rule in &self.rules {
            let Some(taken) = rule.take(head, now) else {
                continue;
            };
            let level = taken.map_err(|level| reject(level, rule.headers))?;
            strictest.get_or_insert((level, rule.headers));
        }
        let (level, headers) = match (strictest, &self.default) {
            (Some(found), _) => found,
            (None, Some(default)) => match default.take(head, now) {
                Some(Ok(level)) => (level, default.headers),
                Some(Err(level)) => return Err(reject(level, default.headers)),
                None => return Ok(Vec::new()),
            },
            (None, None) => (UNLIMITED, self.headers),
        };
        Ok(tell(level, headers))
    }
}

impl Guard for Limiter {
    fn check(&self, head: &mut request::Parts) -> Result<ResponseEdits, Rejection> {
        /// The moment from which time is counted, the same for all limiters: counters outlive them.
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        let now = u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.check_at(head, now)
    }
}

impl Counted {
    /// Counts the request; `None`: it is not one of those that are counted here.
    fn take(&self, head: &request::Parts, now: u64) -> Option<Result<Level, Level>> {
        let mut hasher = match &self.counter {
            Counter::One(_) => DefaultHasher::new(),
            Counter::Each(buckets) => buckets.state.build_hasher(),
        };
        if !self.selectors.iter().all(|s| s.matches(head, &mut hasher)) {
            return None;
        }
        Some(match &self.counter {
            Counter::One(bucket) => bucket.take(now, self.limit.cost),
            Counter::Each(buckets) => buckets.take(hasher.finish(), now, self.limit.cost),
        })
    }
}

fn reject(level: Level, headers: bool) -> Rejection {
    Rejection {
        status: StatusCode::TOO_MANY_REQUESTS,
        body: "local_rate_limited",
        headers: tell(level, headers),
        flag: "RL",
        details: "local_rate_limited",
    }
}

/// The header fields that tell about a limit (draft 3 of the RateLimit header fields).
fn tell(level: Level, headers: bool) -> ResponseEdits {
    if !headers {
        return Vec::new();
    }
    vec![
        (LIMIT, HeaderValue::from(level.limit)),
        (REMAINING, HeaderValue::from(level.remaining)),
        (RESET, HeaderValue::from(level.reset)),
    ]
}
