use std::net::IpAddr;

use http::{HeaderName, Request, request};
use towergate_core::plan::TextMatch;

use super::*;
use crate::rate_limit::{
    HeaderRule, MethodRule, PathRule, PathTest, QueryRule, SourceRule, ValueTest,
};

fn head(method: &str, uri: &str, headers: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn header(name: &'static str, test: ValueTest) -> HeaderRule {
    HeaderRule {
        name: HeaderName::from_static(name).into(),
        test,
    }
}

fn is(text: &str) -> ValueTest {
    ValueTest::Is {
        value: TextMatch::Exact(text.to_owned()),
        invert: false,
    }
}

fn rule(selectors: Vec<Selector>) -> GlobalLimitRule {
    GlobalLimitRule {
        selectors,
        ..GlobalLimitRule::new(2, LimitUnit::Hour)
    }
}

/// The entries after the first one, as `key=value`.
fn entries(rule: &GlobalLimitRule, head: &request::Parts, client: &str) -> Option<Vec<String>> {
    let client: Option<IpAddr> = client.parse().ok();
    let entries = rule.entries(3, "owner", head, client)?;
    assert_eq!(entries[0].key, "owner");
    let text = |entry: &DescriptorEntry| {
        format!("{}={}", entry.key, entry.value.as_deref().unwrap_or("*"))
    };
    Some(entries[1..].iter().map(text).collect())
}

#[test]
fn a_rule_without_selectors_counts_every_request() {
    let found = entries(&rule(Vec::new()), &head("GET", "/", &[]), "127.0.0.1").unwrap();

    assert_eq!(found, ["rule-3-match--1=rule-3-match--1"]);
}

#[test]
fn each_condition_is_an_entry_in_the_order_of_envoy_gateway() {
    let selector = Selector {
        headers: vec![
            header("x-user", ValueTest::Distinct),
            header("x-team", is("red")),
        ],
        query: vec![QueryRule {
            name: "q".to_owned(),
            test: ValueTest::Distinct,
        }],
        methods: vec![MethodRule {
            method: http::Method::GET.into(),
            invert: false,
        }],
        path: Some(PathRule {
            test: PathTest::Prefix("/api".to_owned()),
            invert: false,
        }),
        source: Some(SourceRule {
            network: "203.0.113.9/24".parse().unwrap(),
            distinct: true,
            invert: false,
        }),
    };
    let rule = rule(vec![selector]);
    let headers = [("x-user", "ada"), ("x-user", "bob"), ("x-team", "red")];
    let request = head("GET", "/api/x?a=1&q=7&q=8", &headers);

    assert_eq!(
        entries(&rule, &request, "203.0.113.7").unwrap(),
        [
            "rule-3-match-0=ada",
            "rule-3-match-1=rule-3-match-1",
            "rule-3-match-2=7",
            "rule-3-method=rule-3-method",
            "rule-3-path=rule-3-path",
            "masked_remote_address=203.0.113.0/24",
            "remote_address=203.0.113.7",
        ]
    );
    assert_eq!(entries(&rule, &request, "198.51.100.1"), None);
    let without = head("GET", "/api/x?q=7", &[("x-team", "red")]);
    assert_eq!(entries(&rule, &without, "203.0.113.7"), None);
}

#[test]
fn the_configuration_of_the_service_has_the_entries_of_requests_without_distinct_values() {
    let rule = rule(vec![Selector {
        headers: vec![
            header("x-user", ValueTest::Distinct),
            header("x-team", is("red")),
        ],
        ..Selector::default()
    }]);
    let request = head("GET", "/", &[("x-user", "ada"), ("x-team", "red")]);

    let template = rule.template(3, "owner");
    let sent = rule.entries(3, "owner", &request, None).unwrap();

    assert_eq!(template.len(), sent.len());
    for (template, sent) in template.iter().zip(&sent) {
        assert_eq!(template.key, sent.key);
        assert!(template.value.is_none() || template.value == sent.value);
    }
    assert_eq!(template[1].value, None);
}

#[test]
fn an_unknown_client_is_in_every_network() {
    let rule = rule(vec![Selector {
        source: Some(SourceRule {
            network: "10.0.0.0/8".parse().unwrap(),
            distinct: false,
            invert: false,
        }),
        ..Selector::default()
    }]);

    assert!(entries(&rule, &head("GET", "/", &[]), "unknown").is_some());
}

#[test]
fn the_address_of_the_service_is_a_host_and_a_port() {
    for (text, expected) in [
        (
            "ratelimit.system.svc:8081",
            Some(("ratelimit.system.svc", 8081)),
        ),
        ("127.0.0.1:8081", Some(("127.0.0.1", 8081))),
        ("[::1]:8081", Some(("::1", 8081))),
        ("::1:8081", None),
        ("ratelimit", None),
        ("ratelimit:0", None),
        (":8081", None),
        ("http://a:80", None),
        ("a/b:80", None),
    ] {
        let found = text.parse::<RateLimitService>().ok();
        let found = found.as_ref().map(|found| (&*found.host, found.port));
        assert_eq!(found, expected, "{text}");
    }
}

mod answers {
    use towergate_core::HeaderList;

    use super::super::answer::Decision;
    use super::super::message::{
        CurrentLimit, DescriptorStatus, Duration, HeaderValue, RateLimitResponse,
    };

    fn status(limit: u32, unit: i32, remaining: u32) -> DescriptorStatus {
        DescriptorStatus {
            current_limit: Some(CurrentLimit {
                requests_per_unit: limit,
                unit,
                name: String::new(),
            }),
            limit_remaining: remaining,
            duration_until_reset: Some(Duration { seconds: 30 }),
        }
    }

    fn get<'h>(headers: &'h HeaderList, name: &str) -> Option<&'h str> {
        let found = headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.to_str().unwrap())
    }

    #[test]
    fn the_fields_show_the_limit_with_the_fewest_requests_left() {
        let mut decision = Decision::default();
        let answer = RateLimitResponse {
            overall_code: 1,
            statuses: vec![
                status(5, 2, 4),
                status(2, 3, 1),
                status(9, 7, 8),
                status(1, 1, 0),
            ],
            ..Default::default()
        };
        decision.add(answer, &[true, true, true, false]);

        let headers = decision.response_headers();

        assert!(!decision.over_limit);
        let limit = get(&headers, "x-ratelimit-limit");
        assert_eq!(limit, Some("2, 5;w=60, 2;w=3600, 9;w=604800"));
        assert_eq!(get(&headers, "x-ratelimit-remaining"), Some("1"));
        assert_eq!(get(&headers, "x-ratelimit-reset"), Some("30"));
    }

    #[test]
    fn a_request_above_a_limit_is_answered_429_with_the_body_of_the_service() {
        let mut decision = Decision::default();
        let header = |key: &str| HeaderValue {
            key: key.to_owned(),
            value: "1".to_owned(),
            ..Default::default()
        };
        let answer = RateLimitResponse {
            overall_code: 2,
            response_headers_to_add: vec![
                header("x-plan"),
                header("transfer-encoding"),
                header("a b"),
            ],
            raw_body: "later".into(),
            ..Default::default()
        };
        decision.add(answer, &[]);

        let reply = decision.reply();

        assert_eq!((reply.status.as_u16(), reply.flag), (429, "RL"));
        assert_eq!(&reply.body[..], b"later");
        assert_eq!(reply.headers.len(), 1);
        assert_eq!(get(&reply.headers, "x-plan"), Some("1"));
    }
}
