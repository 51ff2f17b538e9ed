//! Enforces a local rate limit.

use std::hash::{BuildHasher, DefaultHasher, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use http::{HeaderName, HeaderValue, StatusCode, request};
use ipnet::IpNet;
use towergate_core::policy::{HeadPolicy, RequestHead};
use towergate_core::{HeaderList, LocalReply};

use super::Limit;
use super::bucket::{Bucket, Level};
use super::distinct::DistinctBuckets;
use super::selector::Selector;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Level that is reported if no limit of the policy applies: the level of Envoy's built-in limit.
const UNLIMITED: Level = Level {
    limit: u32::MAX as u64,
    remaining: u32::MAX as u64,
    reset: 0,
};

/// A [`LocalRateLimit`](super::LocalRateLimit) with its counters.
#[derive(Debug)]
pub struct Limiter {
    /// Limits with selectors, the strictest first.
    rules: Vec<Counted>,
    default: Option<Counted>,
    headers: bool,
    /// Networks whose clients have no limit.
    pub(super) exempt: Vec<IpNet>,
}

/// A limit with its counter.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) selectors: Vec<Selector>,
    pub(super) limit: Limit,
    pub(super) counter: Counter,
    /// Whether responses have the rate limit header fields.
    pub(super) headers: bool,
}

/// Counter of requests.
#[derive(Debug)]
pub(super) enum Counter {
    /// One bucket for all requests.
    One(Arc<Bucket>),
    /// A bucket for each distinct value.
    Each(Arc<DistinctBuckets>),
}

impl Limiter {
    /// A limiter with these rules, in any order.
    pub(super) fn new(mut rules: Vec<Counted>, default: Option<Counted>, headers: bool) -> Self {
        rules.sort_by(|a, b| {
            let rate = |a: &Limit, b: &Limit| u128::from(a.requests) * b.period.as_nanos();
            rate(&a.limit, &b.limit).cmp(&rate(&b.limit, &a.limit))
        });
        Self {
            rules,
            default,
            headers,
            exempt: Vec::new(),
        }
    }

    /// Counts a request at `now`, in nanoseconds since any fixed moment. Returns the header fields of its
    /// response.
    fn check_at(
        &self,
        head: &request::Parts,
        client: Option<IpAddr>,
        now: u64,
    ) -> Result<HeaderList, LocalReply> {
        let exempt = |client: IpAddr| {
            let client = client.to_canonical();
            self.exempt.iter().any(|network| network.contains(&client))
        };
        if client.is_some_and(exempt) {
            return Ok(Vec::new());
        }
        let mut strictest = None;
        for rule in &self.rules {
            let Some(taken) = rule.take(head, client, now) else {
                continue;
            };
            if rule.limit.shadow {
                continue;
            }
            let level = taken.map_err(|level| reject(level, rule.headers))?;
            strictest.get_or_insert((level, rule.headers));
        }
        let (level, headers) = match (strictest, &self.default) {
            (Some(found), _) => found,
            (None, Some(default)) => match default.take(head, client, now) {
                Some(_) if default.limit.shadow => return Ok(Vec::new()),
                Some(Ok(level)) => (level, default.headers),
                Some(Err(level)) => return Err(reject(level, default.headers)),
                None => return Ok(Vec::new()),
            },
            (None, None) => (UNLIMITED, self.headers),
        };
        Ok(tell(level, headers))
    }
}

impl HeadPolicy for Limiter {
    fn check(&self, request: &mut RequestHead<'_>) -> Result<(), LocalReply> {
        /// The epoch of all limiters. It is shared, because counters outlive a limiter.
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        let now = u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let headers = self.check_at(request.head, request.facts.client, now)?;
        request.add_response_headers(headers);
        Ok(())
    }
}

impl Counted {
    /// Counts the request. `None`: no selector matches the request.
    fn take(
        &self,
        head: &request::Parts,
        client: Option<IpAddr>,
        now: u64,
    ) -> Option<Result<Level, Level>> {
        let mut hasher = match &self.counter {
            Counter::One(_) => DefaultHasher::new(),
            Counter::Each(buckets) => buckets.state.build_hasher(),
        };
        if !self
            .selectors
            .iter()
            .all(|s| s.matches(head, client, &mut hasher))
        {
            return None;
        }
        Some(match &self.counter {
            Counter::One(bucket) => bucket.take(now, self.limit.cost),
            Counter::Each(buckets) => buckets.take(hasher.finish(), now, self.limit.cost),
        })
    }
}

fn reject(level: Level, headers: bool) -> LocalReply {
    LocalReply {
        headers: tell(level, headers),
        ..LocalReply::new(StatusCode::TOO_MANY_REQUESTS, "local_rate_limited")
            .with_body("local_rate_limited")
            .with_flag("RL")
    }
}

/// The header fields for a level (draft 3 of the RateLimit header fields).
fn tell(level: Level, headers: bool) -> HeaderList {
    if !headers {
        return Vec::new();
    }
    vec![
        (LIMIT, HeaderValue::from(level.limit)),
        (REMAINING, HeaderValue::from(level.remaining)),
        (RESET, HeaderValue::from(level.reset)),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Method, Request};
    use towergate_core::http::client_ip::ClientIp;
    use towergate_core::plan::TextMatch;

    use super::super::{HeaderRule, LimitRule, LocalRateLimit, MethodRule, SourceRule, ValueTest};
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const SECOND: u64 = 1_000_000_000;

    fn head(method: Method, headers: &[(&'static str, &str)], client: &str) -> request::Parts {
        let mut request = Request::builder().method(method).uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut head = request.body(()).unwrap().into_parts().0;
        head.extensions.insert(ClientIp(client.parse().unwrap()));
        head
    }

    fn get() -> request::Parts {
        head(Method::GET, &[], "127.9.8.7")
    }

    fn rule(selector: Selector, limit: Limit) -> LimitRule {
        LimitRule {
            selectors: vec![selector],
            limit,
        }
    }

    fn rules(rules: Vec<LimitRule>, default: Option<Limit>) -> LocalRateLimit {
        LocalRateLimit {
            headers: true,
            default,
            rules,
            ..Default::default()
        }
    }

    fn user(test: ValueTest) -> Selector {
        Selector {
            headers: vec![HeaderRule {
                name: HeaderName::from_static("x-user").into(),
                test,
            }],
            ..Default::default()
        }
    }

    fn network(network: &str, distinct: bool) -> Selector {
        Selector {
            source: Some(SourceRule {
                network: network.parse().unwrap(),
                distinct,
                invert: false,
            }),
            ..Default::default()
        }
    }

    fn check_at(
        limiter: &Limiter,
        head: &request::Parts,
        now: u64,
    ) -> Result<HeaderList, LocalReply> {
        let client = head.extensions.get::<ClientIp>().map(|client| client.0);
        limiter.check_at(head, client, now)
    }

    /// Returns the status, and the rate limit header fields.
    fn answer(limiter: &Limiter, head: &request::Parts, now: u64) -> (u16, Vec<String>) {
        let (status, headers) = match check_at(limiter, head, now) {
            Ok(headers) => (200, headers),
            Err(rejection) => (rejection.status.as_u16(), rejection.headers),
        };
        let text = |(_, value): (HeaderName, HeaderValue)| value.to_str().unwrap().to_owned();
        (status, headers.into_iter().map(text).collect())
    }

    fn statuses(limiter: &Limiter, head: &request::Parts, times: usize) -> Vec<u16> {
        (0..times).map(|_| answer(limiter, head, 0).0).collect()
    }

    #[test]
    fn a_limit_in_shadow_mode_rejects_nothing_and_stands_for_its_requests() {
        let shadow = |requests| Limit {
            shadow: true,
            ..Limit::new(requests, HOUR)
        };
        let default = Some(Limit::new(1, HOUR));
        let by_rule = rules(vec![rule(user(ValueTest::Distinct), shadow(1))], default);
        let by_default = rules(Vec::new(), Some(shadow(0)));
        let one = head(Method::GET, &[("x-user", "one")], "127.9.8.7");

        let limiter = by_default.limiter();
        assert_eq!(limiter.check_at(&get(), None, 0), Ok(Vec::new()));
        let limiter = by_rule.limiter();
        assert!(limiter.check_at(&one, None, 0).is_ok());
        assert!(
            limiter.check_at(&one, None, 0).is_err(),
            "the default applies"
        );
    }

    #[test]
    fn a_limit_of_one_allows_one_request_and_reports_the_level() {
        let limiter = LocalRateLimit::of(Limit::new(1, HOUR)).limiter();

        assert_eq!(
            answer(&limiter, &get(), 0),
            (200, ["1", "0", "3600"].map(str::to_owned).to_vec())
        );
        assert_eq!(
            answer(&limiter, &get(), 0),
            (429, ["1", "0", "3600"].map(str::to_owned).to_vec())
        );
        assert_eq!(answer(&limiter, &get(), 3600 * SECOND).0, 200);
    }

    #[test]
    fn clients_of_exempt_networks_have_no_limit() {
        let limit = LocalRateLimit {
            exempt: vec!["192.0.2.0/24".parse().unwrap()],
            ..LocalRateLimit::of(Limit::new(1, HOUR))
        };
        let limiter = limit.limiter();
        let of = |client: &str| statuses(&limiter, &head(Method::GET, &[], client), 3);

        assert_eq!(of("192.0.2.7"), [200, 200, 200]);
        assert_eq!(of("198.51.100.7"), [200, 429, 429]);
    }

    #[test]
    fn the_local_reply_is_that_of_envoy() {
        let limiter = LocalRateLimit::of(Limit::new(0, HOUR)).limiter();

        let rejection = check_at(&limiter, &get(), 0).unwrap_err();

        assert_eq!(rejection.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(rejection.body, "local_rate_limited");
        assert_eq!(rejection.flag, "RL");
        assert_eq!(rejection.details, "local_rate_limited");
        let names: Vec<_> = rejection
            .headers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "x-ratelimit-limit",
                "x-ratelimit-remaining",
                "x-ratelimit-reset"
            ]
        );
    }

    #[test]
    fn a_listener_and_a_rule_can_disable_the_header_fields() {
        let quiet = LocalRateLimit {
            headers: false,
            ..LocalRateLimit::of(Limit::new(1, HOUR))
        };
        let loud_rule = LocalRateLimit {
            headers: false,
            ..LocalRateLimit::of(Limit {
                headers: Some(true),
                ..Limit::new(1, HOUR)
            })
        };
        let quiet_rule = LocalRateLimit::of(Limit {
            headers: Some(false),
            ..Limit::new(1, HOUR)
        });

        for (limit, fields) in [(quiet, 0), (loud_rule, 3), (quiet_rule, 0)] {
            let limiter = limit.limiter();

            assert_eq!(answer(&limiter, &get(), 0).1.len(), fields);
            assert_eq!(answer(&limiter, &get(), 0).1.len(), fields);
        }
    }

    #[test]
    fn a_rule_counts_only_what_it_selects_and_the_rest_is_unlimited() {
        let one = ValueTest::Is {
            value: TextMatch::Exact("one".to_owned()),
            invert: false,
        };
        let method = Selector {
            methods: vec![MethodRule {
                method: Method::POST.into(),
                invert: false,
            }],
            ..Default::default()
        };
        for (selector, inside) in [
            (
                user(one),
                head(Method::GET, &[("x-user", "one")], "127.0.0.1"),
            ),
            (
                network("203.0.113.0/24", false),
                head(Method::GET, &[], "203.0.113.9"),
            ),
            (method, head(Method::POST, &[], "127.0.0.1")),
        ] {
            let limiter = rules(vec![rule(selector, Limit::new(1, HOUR))], None).limiter();

            assert_eq!(statuses(&limiter, &inside, 2), [200, 429]);
            let most = "4294967295".to_owned();
            assert_eq!(
                answer(&limiter, &get(), 0),
                (200, vec![most.clone(), most, "0".to_owned()])
            );
        }
    }

    #[test]
    fn a_request_that_matches_a_rule_is_not_counted_by_the_default_limit() {
        let limit = rules(
            vec![rule(network("203.0.113.0/24", false), Limit::new(3, HOUR))],
            Some(Limit::new(1, HOUR)),
        );
        let limiter = limit.limiter();
        let inside = head(Method::GET, &[], "203.0.113.9");

        assert_eq!(statuses(&limiter, &inside, 4), [200, 200, 200, 429]);
        assert_eq!(statuses(&limiter, &get(), 2), [200, 429]);
    }

    #[test]
    fn of_several_rules_the_strictest_decides_whatever_their_order() {
        let loose = rule(network("127.0.0.0/8", false), Limit::new(100, HOUR));
        let strict = rule(network("127.9.0.0/16", false), Limit::new(2, HOUR));
        for order in [vec![loose.clone(), strict.clone()], vec![strict, loose]] {
            let limiter = rules(order, None).limiter();

            assert_eq!(
                answer(&limiter, &get(), 0),
                (200, ["2", "1", "1800"].map(str::to_owned).to_vec())
            );
            assert_eq!(statuses(&limiter, &get(), 2), [200, 429]);
        }
    }

    #[test]
    fn all_selectors_of_a_rule_must_hold() {
        let limit = LimitRule {
            selectors: vec![
                network("127.0.0.0/8", false),
                user(ValueTest::Is {
                    value: TextMatch::Exact("one".to_owned()),
                    invert: false,
                }),
            ],
            limit: Limit::new(1, HOUR),
        };
        let limiter = rules(vec![limit], None).limiter();

        assert_eq!(statuses(&limiter, &get(), 3), [200, 200, 200]);
        let both = head(Method::GET, &[("x-user", "one")], "127.0.0.1");
        assert_eq!(statuses(&limiter, &both, 2), [200, 429]);
    }

    #[test]
    fn each_client_has_its_own_bucket_if_the_rule_is_distinct() {
        let apart = rule(network("0.0.0.0/0", true), Limit::new(1, HOUR));
        let limiter = rules(vec![apart], None).limiter();

        for client in ["203.0.113.1", "203.0.113.2"] {
            let head = head(Method::GET, &[], client);

            assert_eq!(statuses(&limiter, &head, 2), [200, 429], "{client}");
        }
    }

    #[test]
    fn a_request_may_cost_more_than_one() {
        let limiter = LocalRateLimit::of(Limit {
            cost: 2,
            ..Limit::new(5, HOUR)
        })
        .limiter();

        assert_eq!(statuses(&limiter, &get(), 3), [200, 200, 429]);
    }

    #[test]
    fn workers_share_a_limit() {
        let limiter = Arc::new(LocalRateLimit::of(Limit::new(1000, HOUR)).limiter());
        let workers = (0..4).map(|_| {
            let limiter = limiter.clone();
            std::thread::spawn(move || {
                statuses(&limiter, &get(), 500)
                    .into_iter()
                    .filter(|status| *status == 200)
                    .count()
            })
        });
        let workers: Vec<_> = workers.collect();

        let passed: usize = workers.into_iter().map(|w| w.join().unwrap()).sum();

        assert_eq!(passed, 1000);
    }
}
