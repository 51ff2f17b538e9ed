//! Local rate limit: a limit of requests per time, counted by each gateway.
//!
//! ```text
//! request ─> rules whose selectors match, the strictest first ─> each takes its cost from its bucket
//!       └──> no match: the default limit                          too few tokens: 429
//! ```
//!
//! The semantics are those of Envoy. A bucket holds as many tokens as the limit has requests. It is full at
//! first, and fills evenly over the period. A rejected request takes no token from the bucket that rejected
//! it. The default limit applies only if no rule matches.
//!
//! All workers share the counters, which survive a change of the configuration if the limit is unchanged.
//! Addresses are not grouped by prefix, so a client with many IPv6 addresses has as many buckets.
//!
//! ```
//! use std::time::Duration;
//!
//! use towergate_core::policy::{HeadPolicy, HeadPolicyLayer, RequestHead, ResponseEffects};
//! use towergate_policy::rate_limit::{Limit, LocalRateLimit};
//!
//! let limiter = LocalRateLimit::of(Limit::new(1, Duration::from_secs(60))).limiter();
//! let (mut head, ()) = http::Request::new(()).into_parts();
//! let mut effects = ResponseEffects::default();
//! let mut request = RequestHead::outside_gateway(&mut head, &mut effects);
//!
//! assert!(limiter.check(&mut request).is_ok());
//! assert_eq!(limiter.check(&mut request).unwrap_err().status, 429);
//! let _layer = HeadPolicyLayer::new(limiter); // in front of any HTTP service
//! ```

mod bucket;
mod distinct;
mod limiter;
mod selector;

pub use limiter::Limiter;
pub use selector::{
    HeaderRule, MethodRule, PathRule, PathTest, QueryRule, Selector, SourceRule, ValueTest,
};

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use towergate_core::plan::RouteId;
use towergate_core::policy::Live;
use towergate_core::policy::{BuildContext, BuiltPolicy};

use self::bucket::Bucket;
use self::distinct::DistinctBuckets;
use self::limiter::{Counted, Counter};

/// A local rate limit (BackendTrafficPolicy `rateLimit.local`).
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct LocalRateLimit {
    /// `namespace/name` of the policy. All routes of the policy share its limits with `shared: true`.
    pub policy: String,
    /// Whether responses have the `x-ratelimit-*` fields. A limit can override this value.
    pub headers: bool,
    /// Limit of requests that no rule matches. `None`: unlimited.
    pub default: Option<Limit>,
    /// Limits with selectors.
    pub rules: Vec<LimitRule>,
    /// Networks whose clients have no limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exempt: Vec<IpNet>,
}

/// A limit of the requests that the selectors match.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct LimitRule {
    /// Selectors. All of them must match. Never empty.
    pub selectors: Vec<Selector>,
    /// The limit of the requests that match.
    pub limit: Limit,
}

/// A number of requests per time.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Number of requests. 0: all requests are rejected.
    pub requests: u32,
    /// Period in which the bucket fills.
    pub period: Duration,
    /// Tokens that a request takes. 0: the bucket must contain a token, but none is taken.
    pub cost: u32,
    /// Whether all routes of the policy share the bucket.
    pub shared: bool,
    /// Whether responses have the `x-ratelimit-*` fields. `None`: the value of
    /// [`LocalRateLimit::headers`].
    pub headers: Option<bool>,
    /// Whether requests are counted and never rejected. Responses then have no `x-ratelimit-*` fields.
    pub shadow: bool,
}

impl Limit {
    /// A limit of `requests` in `period`, with a cost of 1.
    pub fn new(requests: u32, period: Duration) -> Self {
        Self {
            requests,
            period,
            cost: 1,
            shared: false,
            headers: None,
            shadow: false,
        }
    }
}

impl LocalRateLimit {
    /// One limit for all requests.
    pub fn of(limit: Limit) -> Self {
        Self {
            headers: true,
            default: Some(limit),
            ..Default::default()
        }
    }

    /// Builds the policy of this limit for a rule. When the configuration changes, the counters are kept if
    /// the rule has an equal limit.
    pub(crate) fn build(&self, context: &BuildContext<'_>) -> BuiltPolicy {
        let mut seen: Vec<CounterKey> = Vec::new();
        let limiter = self.limiter_with(|selectors, limit| {
            let owner = if limit.shared {
                Owner::Policy(self.policy.clone())
            } else {
                Owner::Rule(context.route.clone(), context.rule)
            };
            let mut key = CounterKey {
                owner,
                selectors: selectors.to_vec(),
                requests: limit.requests,
                period: limit.period,
                twin: 0,
            };
            // Two equal limits in one rule have separate buckets.
            while seen.contains(&key) {
                key.twin += 1;
            }
            seen.push(key.clone());
            live_counter(context.live, key)
        });
        BuiltPolicy::head(limiter)
    }

    /// A limiter with separate counters, for use without a plan.
    pub fn limiter(&self) -> Limiter {
        self.limiter_with(|selectors, limit| {
            if selectors.iter().any(Selector::is_distinct) {
                Counter::Each(Arc::new(DistinctBuckets::new(limit.requests, limit.period)))
            } else {
                Counter::One(Arc::new(Bucket::new(limit.requests, limit.period)))
            }
        })
    }

    fn limiter_with(&self, mut find: impl FnMut(&[Selector], &Limit) -> Counter) -> Limiter {
        let mut count = |selectors: &[Selector], limit: &Limit| Counted {
            selectors: selectors.to_vec(),
            counter: find(selectors, limit),
            limit: limit.clone(),
            headers: limit.headers.unwrap_or(self.headers),
        };
        let default = self.default.as_ref().map(|limit| count(&[], limit));
        let rules = self.rules.iter();
        let rules = rules
            .map(|rule| count(&rule.selectors, &rule.limit))
            .collect();
        let mut limiter = Limiter::new(rules, default, self.headers);
        limiter.exempt.clone_from(&self.exempt);
        limiter
    }
}

/// Key of a counter in [`Live`].
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct CounterKey {
    owner: Owner,
    selectors: Vec<Selector>,
    requests: u32,
    period: Duration,
    twin: usize,
}

/// Scope of a counter.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Owner {
    Rule(Arc<RouteId>, usize),
    Policy(String),
}

fn live_counter(live: &Live, key: CounterKey) -> Counter {
    if key.selectors.iter().any(Selector::is_distinct) {
        Counter::Each(live.share(key, |key| {
            Arc::new(DistinctBuckets::new(key.requests, key.period))
        }))
    } else {
        Counter::One(live.share(key, |key| Arc::new(Bucket::new(key.requests, key.period))))
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use towergate_core::plan::RouteKind;
    use towergate_core::policy::{HeadPolicy, RequestHead, ResponseEffects};

    use super::*;

    fn route(name: &str) -> Arc<RouteId> {
        Arc::new(RouteId {
            kind: RouteKind::Http,
            namespace: "default".to_owned(),
            name: name.to_owned(),
        })
    }

    /// The limit as the policy of a rule.
    fn built(limit: &LocalRateLimit, route: &Arc<RouteId>, live: &Live) -> BuiltPolicy {
        let provider = towergate_tls::default_provider();
        limit.build(&BuildContext::new(live, &provider, route, 0))
    }

    fn limit(requests: u32, shared: bool) -> LocalRateLimit {
        LocalRateLimit {
            policy: "default/policy".to_owned(),
            ..LocalRateLimit::of(Limit {
                shared,
                ..Limit::new(requests, Duration::from_secs(3600))
            })
        }
    }

    fn passes(policy: &BuiltPolicy) -> bool {
        let BuiltPolicy::Head(policy) = policy else {
            panic!("a limit needs the head only");
        };
        let (mut head, ()) = Request::new(()).into_parts();
        let mut effects = ResponseEffects::default();
        let mut request = RequestHead::outside_gateway(&mut head, &mut effects);
        policy.check(&mut request).is_ok()
    }

    #[test]
    fn a_counter_survives_a_change_that_does_not_concern_its_limit() {
        let live = Live::default();
        let before = built(&limit(1, false), &route("a"), &live);
        assert!(passes(&before));

        let quieter = LocalRateLimit {
            headers: false,
            ..limit(1, false)
        };
        let after = built(&quieter, &route("a"), &live);
        let changed = built(&limit(2, false), &route("a"), &live);

        assert!(!passes(&after));
        assert!(passes(&changed));
    }

    #[test]
    fn each_route_has_its_own_bucket_unless_the_limit_is_shared() {
        for (shared, second) in [(false, true), (true, false)] {
            let live = Live::default();
            let a = built(&limit(1, shared), &route("a"), &live);
            let b = built(&limit(1, shared), &route("b"), &live);

            assert!(passes(&a));
            assert_eq!(passes(&b), second, "shared: {shared}");
        }
    }

    #[test]
    fn two_equal_rules_do_not_count_a_request_twice() {
        let rule = LimitRule {
            selectors: vec![Selector {
                path: Some(PathRule {
                    test: PathTest::Prefix(String::new()),
                    invert: false,
                }),
                ..Default::default()
            }],
            limit: Limit::new(2, Duration::from_secs(3600)),
        };
        let limit = LocalRateLimit {
            rules: vec![rule.clone(), rule],
            ..Default::default()
        };
        let guard = built(&limit, &route("a"), &Live::default());

        assert!(passes(&guard));
        assert!(passes(&guard));
        assert!(!passes(&guard));
    }
}
