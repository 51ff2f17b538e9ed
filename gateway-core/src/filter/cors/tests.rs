//! Tests of CORS against the Gateway API conformance suite and Envoy.

use super::*;

fn cors(origins: &[&str], credentials: bool, methods: &[&str], headers: &[&str]) -> Cors {
    Cors {
        origins: origins.iter().map(|text| text.parse().unwrap()).collect(),
        credentials,
        methods: Allowed::of(methods.iter().copied()).unwrap(),
        headers: Allowed::of(headers.iter().copied()).unwrap(),
        expose: Allowed::Nothing,
        max_age: Some(5),
        as_envoy: false,
        every_response: false,
        origin_texts: Vec::new(),
    }
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let fields = lines.iter().map(|(name, value)| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    });
    fields.collect()
}

/// Returns `preflight` or `forwarded`, followed by the response fields without their prefix
/// `access-control-`.
fn told(cors: &Cors, method: &str, lines: &[(&'static str, &'static str)]) -> String {
    let decision = cors.decide(&method.parse().unwrap(), &headers(lines));
    let mut response = HeaderMap::new();
    decision.headers.apply(&mut response);
    let mut fields: Vec<String> = response
        .iter()
        .map(|(name, value)| {
            let name = name.as_str().trim_start_matches("access-control-");
            format!("{name}={}", value.to_str().unwrap())
        })
        .collect();
    fields.sort();
    let kind = if decision.preflight {
        "preflight"
    } else {
        "forwarded"
    };
    [&[kind.to_owned()], &fields[..]].concat().join("; ")
}

/// Rules of the HTTPRoutes of the conformance suite.
fn rules() -> [Cors; 5] {
    let several = Cors {
        expose: Allowed::of(["x-header-3", "x-header-4"]).unwrap(),
        max_age: Some(3600),
        ..cors(
            &["https://www.foo.com", "https://*.bar.com"],
            true,
            &["GET", "OPTIONS"],
            &["x-header-1", "x-header-2"],
        )
    };
    [
        several,
        cors(&["https://www.foo.com"], false, &["*"], &[]),
        cors(&["*"], false, &["PUT"], &[]),
        cors(&["*"], true, &["*"], &["*"]),
        cors(&["*"], false, &["*"], &["*"]),
    ]
}

const FIELDS: (&str, &str) = ("access-control-request-headers", "x-header-1, x-header-2");

const fn ask(method: &'static str) -> (&'static str, &'static str) {
    ("access-control-request-method", method)
}

/// Together with `the_suite_gets_what_it_asks_for`, this test covers every row of the table in the
/// conformance suite.
#[test]
fn each_origin_that_is_allowed_is_named() {
    let [several, ..] = &rules();
    for name in [
        "https://www.foo.com",
        "https://www.bar.com",
        "https://xpto.www.bar.com",
    ] {
        let lines = [("origin", name), ask("GET"), FIELDS];
        let preflight = format!(
            "preflight; allow-credentials=true; allow-headers=x-header-1, x-header-2; \
             allow-methods=GET, OPTIONS; allow-origin={name}; \
             expose-headers=x-header-3, x-header-4; max-age=3600"
        );
        assert_eq!(told(several, "OPTIONS", &lines), preflight);
        let forwarded = format!(
            "forwarded; allow-credentials=true; allow-origin={name}; \
             expose-headers=x-header-3, x-header-4; vary=Origin"
        );
        assert_eq!(told(several, "GET", &lines), forwarded);
    }
}

#[test]
fn the_suite_gets_what_it_asks_for() {
    const FOREIGN: &str = "https://foobar.com";
    const OTHER: &str = "https://other.foo.com";
    const METHODS: &str = "preflight; allow-methods=*; allow-origin=https://www.foo.com; max-age=5";
    const ORIGIN: &str = "preflight; allow-methods=PUT; allow-origin=*; max-age=5";
    const WITH: &str = "preflight; allow-credentials=true; allow-headers=x-header-1, x-header-2; \
         allow-methods=PUT; allow-origin=https://other.foo.com; max-age=5";
    const WITHOUT: &str = "preflight; allow-headers=*; allow-methods=*; allow-origin=*; max-age=5";
    const NAMED: &str =
        "forwarded; allow-credentials=true; allow-origin=https://other.foo.com; vary=Origin";
    const ANY: &str = "forwarded; allow-origin=*";
    let [several, methods, any, with, without] = &rules();
    let pre = |method| vec![ask(method)];
    let full = |method| vec![ask(method), FIELDS];
    for (cors, method, origin, lines, expected) in [
        (several, "OPTIONS", FOREIGN, pre("GET"), "preflight"),
        (
            several,
            "GET",
            FOREIGN,
            pre("GET"),
            "forwarded; vary=Origin",
        ),
        (
            methods,
            "OPTIONS",
            "https://www.foo.com",
            pre("POST"),
            METHODS,
        ),
        (any, "OPTIONS", FOREIGN, pre("PUT"), ORIGIN),
        (
            any,
            "OPTIONS",
            "https://foobar.com:12345",
            pre("PUT"),
            ORIGIN,
        ),
        (any, "PUT", "https://foobar.com:12345", vec![], ANY),
        (any, "PUT", FOREIGN, vec![], ANY),
        (with, "OPTIONS", OTHER, full("PUT"), WITH),
        (without, "OPTIONS", OTHER, full("PUT"), WITHOUT),
        (with, "GET", OTHER, vec![], NAMED),
        (without, "GET", OTHER, vec![], ANY),
    ] {
        let lines = [&[("origin", origin)], &lines[..]].concat();
        assert_eq!(told(cors, method, &lines), expected, "{method} {lines:?}");
    }
}

#[test]
fn only_a_preflight_is_answered() {
    let [several, .., without] = &rules();
    let origin = ("origin", "https://www.foo.com");
    let ask = ("access-control-request-method", "GET");
    for (method, lines, expected) in [
        ("OPTIONS", &[origin, ask][..], true),
        ("OPTIONS", &[origin], false),
        ("OPTIONS", &[ask], false),
        ("OPTIONS", &[("origin", ""), ask], false),
        (
            "OPTIONS",
            &[origin, ("access-control-request-method", "")],
            false,
        ),
        ("GET", &[origin, ask], false),
        ("options", &[origin, ask], false),
    ] {
        for cors in [several, without] {
            let decision = cors.decide(&method.parse().unwrap(), &headers(lines));

            assert_eq!(decision.preflight, expected, "{method} {lines:?}");
        }
    }
}

#[test]
fn all_is_what_was_asked_for_where_credentials_are_allowed() {
    let [.., with, without] = &rules();
    let lines = [
        ("origin", "null"),
        ("access-control-request-method", "PATCH"),
    ];

    assert_eq!(
        told(with, "OPTIONS", &lines),
        "preflight; allow-credentials=true; allow-methods=PATCH; allow-origin=null; max-age=5",
        "without requested fields, no field is allowed"
    );
    assert!(told(without, "OPTIONS", &lines).contains("allow-headers=*"));
}

#[test]
fn exposing_all_says_nothing_where_credentials_are_allowed() {
    let expose = |credentials| Cors {
        expose: Allowed::Any,
        ..cors(&["*"], credentials, &[], &[])
    };
    let lines = [("origin", "https://a.test")];

    assert!(told(&expose(false), "GET", &lines).contains("expose-headers=*"));
    assert!(!told(&expose(true), "GET", &lines).contains("expose-headers"));
}

#[test]
fn a_list_of_origins_is_none_and_neither_are_bytes() {
    let [several, ..] = &rules();
    let mut odd = HeaderMap::new();
    odd.insert(
        ORIGIN,
        HeaderValue::from_bytes(b"https://www.foo.com\xff").unwrap(),
    );

    let decision = several.decide(&Method::GET, &odd);

    assert!(decision.headers.fields.is_empty());
    let joined = [("origin", "https://www.foo.com, https://www.bar.com")];
    assert_eq!(told(several, "GET", &joined), "forwarded; vary=Origin");
}

#[test]
fn what_the_backend_says_is_replaced_for_origins_that_are_allowed() {
    let [several, ..] = &rules();
    for (origin, expected) in [
        ("https://www.foo.com", &["https://www.foo.com"][..]),
        ("https://foobar.com", &["*", "again"]),
    ] {
        let mut response = headers(&[
            ("access-control-allow-origin", "*"),
            ("access-control-allow-origin", "again"),
        ]);
        let decision = several.decide(&Method::GET, &headers(&[("origin", origin)]));

        decision.headers.apply(&mut response);

        let said: Vec<_> = response
            .get_all(ACCESS_CONTROL_ALLOW_ORIGIN)
            .iter()
            .collect();
        assert_eq!(said, expected, "{origin}");
    }
}

#[test]
fn caches_are_told_once_that_the_origin_matters() {
    let [several, ..] = &rules();
    for (before, after) in [
        (&[][..], &["Origin"][..]),
        (&["accept"], &["accept", "Origin"]),
        (&["accept, ORIGIN"], &["accept, ORIGIN"]),
        (&["x", "*"], &["x", "*"]),
    ] {
        let mut response = HeaderMap::new();
        for line in before {
            response.append(VARY, HeaderValue::from_static(line));
        }

        let decision = several.decide(&Method::GET, &HeaderMap::new());
        decision.headers.apply(&mut response);

        assert_eq!(response.get_all(VARY).iter().collect::<Vec<_>>(), after);
    }
}

#[test]
fn as_envoy_the_origin_is_named_and_vary_is_omitted() {
    let [several, _, any, ..] = &rules();
    let as_envoy = |cors: &Cors| Cors {
        as_envoy: true,
        ..cors.clone()
    };
    let lines = [("origin", "https://www.foo.com")];

    assert_eq!(
        told(&as_envoy(any), "GET", &lines),
        "forwarded; allow-origin=https://www.foo.com"
    );
    assert!(!told(&as_envoy(several), "GET", &lines).contains("vary"));
    let other = [("origin", "https://other.test"), ask("GET")];
    assert_eq!(told(several, "OPTIONS", &other), "preflight");
    let methods = told(&as_envoy(several), "OPTIONS", &other);
    assert!(methods.contains("allow-methods") && !methods.contains("allow-origin"));
}

#[test]
fn on_every_response_all_requests_of_an_allowed_origin_are_treated_alike() {
    let some = Cors {
        origins: vec!["https://x.test".parse().unwrap()],
        credentials: true,
        methods: Allowed::of(["GET", "PUT"]).unwrap(),
        max_age: Some(60),
        every_response: true,
        ..Cors::default()
    };
    let any = Cors {
        origins: vec![OriginPattern::Any],
        ..some.clone()
    };
    for (cors, method, origin, allowed, preflight) in [
        (
            &some,
            Method::GET,
            "https://x.test",
            "https://x.test",
            false,
        ),
        (
            &some,
            Method::OPTIONS,
            "https://x.test",
            "https://x.test",
            true,
        ),
        (&some, Method::OPTIONS, "https://y.test", "", false),
        (&some, Method::OPTIONS, "", "", false),
        (&any, Method::OPTIONS, "", "*", true),
        (&any, Method::GET, "https://y.test", "*", false),
    ] {
        let mut asked = HeaderMap::new();
        if !origin.is_empty() {
            asked.insert(ORIGIN, origin.parse().unwrap());
        }

        let decision = cors.decide(&method, &asked);

        assert_eq!(decision.preflight, preflight, "{method} {origin}");
        let mut response = HeaderMap::new();
        decision.headers.apply(&mut response);
        let found = |name: &str| {
            response
                .get(name)
                .map_or("", |value| value.to_str().unwrap())
        };
        assert_eq!(found("access-control-allow-origin"), allowed);
        let is_allowed = !allowed.is_empty();
        assert_eq!(
            found("access-control-allow-credentials") == "true",
            is_allowed
        );
        assert_eq!(
            found("access-control-allow-methods") == "GET, PUT",
            is_allowed
        );
        assert_eq!(found("access-control-max-age") == "60", is_allowed);
        assert_eq!(found("vary"), "");
    }
}
