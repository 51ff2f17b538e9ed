use http::{HeaderName, Method, Request};
use proptest::prelude::*;
use serde_json::{Value, json};
use towergate_core::plan::TextMatch;

use super::*;

/// A request under test.
#[derive(Default)]
struct Sample {
    client: Option<&'static str>,
    headers: Vec<(&'static str, &'static str)>,
    claims: Option<Value>,
}

impl Sample {
    fn decide(&self, rules: &AuthorizationRules, method: &str, path: &str) -> Access {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let mut tokens = VerifiedTokens::default();
        if let Some(Value::Object(claims)) = self.claims.clone() {
            tokens.add("main".into(), claims.into());
        }
        rules.decide(&Subject {
            head: &head,
            version: head.version,
            client: self.client.map(|address| address.parse().unwrap()),
            connection: None,
            tokens: &tokens,
            databases: None,
        })
    }
}

fn only(principal: PrincipalMatch, operation: OperationMatch) -> AuthorizationRules {
    AuthorizationRules {
        rules: vec![AccessRule {
            name: "rule".to_owned(),
            access: Access::Allow,
            principal,
            operation,
            condition: None,
        }],
        default: Access::Deny,
        databases: Vec::new(),
    }
}

fn networks(texts: &[&str]) -> PrincipalMatch {
    PrincipalMatch {
        networks: Some(texts.iter().map(|text| text.parse().unwrap()).collect()),
        ..PrincipalMatch::default()
    }
}

#[test]
fn addresses_are_compared_in_canonical_form() {
    let rules = only(
        networks(&["10.0.0.0/8", "2001:db8::/32"]),
        OperationMatch::default(),
    );
    for (client, expected) in [
        (Some("10.9.9.9"), Access::Allow),
        (Some("11.0.0.1"), Access::Deny),
        (Some("2001:db8::1"), Access::Allow),
        (Some("::ffff:10.9.9.9"), Access::Allow),
        (None, Access::Deny),
    ] {
        let sample = Sample {
            client,
            ..Sample::default()
        };
        assert_eq!(sample.decide(&rules, "GET", "/"), expected, "{client:?}");
    }
}

#[test]
fn an_unknown_client_is_denied_by_a_rule_that_denies_networks() {
    let mut rules = only(networks(&["10.0.0.0/8"]), OperationMatch::default());
    rules.rules[0].access = Access::Deny;
    rules.default = Access::Allow;

    assert_eq!(Sample::default().decide(&rules, "GET", "/"), Access::Deny);
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rule = |access, network| AccessRule {
        access,
        ..only(networks(&[network]), OperationMatch::default())
            .rules
            .remove(0)
    };
    let rules = AuthorizationRules {
        rules: vec![
            rule(Access::Deny, "10.1.0.0/16"),
            rule(Access::Allow, "10.0.0.0/8"),
            rule(Access::Deny, "10.2.0.0/16"),
        ],
        default: Access::Deny,
        databases: Vec::new(),
    };
    for (client, expected) in [
        ("10.1.2.3", Access::Deny),
        ("10.2.2.3", Access::Allow),
        ("10.3.2.3", Access::Allow),
        ("192.0.2.1", Access::Deny),
    ] {
        let sample = Sample {
            client: Some(client),
            ..Sample::default()
        };
        assert_eq!(sample.decide(&rules, "GET", "/"), expected, "{client}");
    }
}

#[test]
fn of_two_header_lines_none_allows_and_any_denies() {
    let header = HeaderMatch {
        name: HeaderName::from_static("x-team").into(),
        values: vec!["red".to_owned(), "blue".to_owned()],
    };
    let principal = PrincipalMatch {
        headers: vec![header],
        ..PrincipalMatch::default()
    };
    let allow = only(principal, OperationMatch::default());
    let mut deny = allow.clone();
    deny.rules[0].access = Access::Deny;
    deny.default = Access::Allow;
    for (values, allowed, passes_deny) in [
        (vec!["red"], Access::Allow, Access::Deny),
        (vec!["blue"], Access::Allow, Access::Deny),
        (vec!["Red"], Access::Deny, Access::Allow),
        (vec![""], Access::Deny, Access::Allow),
        (vec![], Access::Deny, Access::Allow),
        (vec!["green", "red"], Access::Deny, Access::Deny),
    ] {
        let headers = values.iter().map(|value| ("x-team", *value)).collect();
        let sample = Sample {
            headers,
            ..Sample::default()
        };
        assert_eq!(sample.decide(&allow, "GET", "/"), allowed, "{values:?}");
        assert_eq!(sample.decide(&deny, "GET", "/"), passes_deny, "{values:?}");
    }
}

#[test]
fn operations_are_methods_and_paths() {
    let path = |test, invert| Some(OperationPath { test, invert });
    let prefix = || PathComparison::Prefix("/admin".to_owned());
    for (operation, method, target, expected) in [
        (vec![Method::GET], "GET", "/", Access::Allow),
        (vec![Method::GET], "HEAD", "/", Access::Deny),
        (vec![], "PUT", "/", Access::Allow),
    ] {
        let operation = OperationMatch {
            methods: operation.into_iter().map(Into::into).collect(),
            path: None,
        };
        let rules = only(PrincipalMatch::default(), operation);
        assert_eq!(
            Sample::default().decide(&rules, method, target),
            expected,
            "{method} {target}"
        );
    }
    for (path, target, expected) in [
        (
            path(
                PathComparison::Whole(TextMatch::Exact("/exact".to_owned())),
                false,
            ),
            "/exact",
            Access::Allow,
        ),
        (
            path(
                PathComparison::Whole(TextMatch::Exact("/exact".to_owned())),
                false,
            ),
            "/exact?a=b",
            Access::Allow,
        ),
        (
            path(
                PathComparison::Whole(TextMatch::Exact("/exact".to_owned())),
                false,
            ),
            "/exact/",
            Access::Deny,
        ),
        (path(prefix(), false), "/administrator", Access::Allow),
        (path(prefix(), false), "/x/admin", Access::Deny),
        (path(prefix(), true), "/admin/x", Access::Deny),
        (path(prefix(), true), "/public", Access::Allow),
    ] {
        let rules = only(
            PrincipalMatch::default(),
            OperationMatch {
                methods: Vec::new(),
                path,
            },
        );
        assert_eq!(
            Sample::default().decide(&rules, "GET", target),
            expected,
            "{target}"
        );
    }
}

#[test]
fn claims_and_scopes_of_the_named_provider_count() {
    let claim = |name: &str, test, values: &[&str]| ClaimMatch {
        name: name.to_owned(),
        test,
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    let token = |claims, scopes: &[&str]| PrincipalMatch {
        token: Some(TokenMatch {
            provider: "main".to_owned(),
            claims,
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        }),
        ..PrincipalMatch::default()
    };
    let nested = token(
        vec![
            claim("org.team", ClaimTest::String, &["red"]),
            claim("groups", ClaimTest::StringArray, &["dev", "ops"]),
        ],
        &[],
    );
    let scopes = token(Vec::new(), &["read", "write"]);
    for (principal, claims, expected) in [
        (
            &nested,
            Some(json!({"org": {"team": "red"}, "groups": ["x", "ops"]})),
            Access::Allow,
        ),
        (&nested, Some(json!({"org": {"team": "red"}})), Access::Deny),
        (
            &nested,
            Some(json!({"org": {"team": "red"}, "groups": "ops"})),
            Access::Deny,
        ),
        (
            &nested,
            Some(json!({"org.team": "red", "groups": ["ops"]})),
            Access::Deny,
        ),
        (&nested, None, Access::Deny),
        (
            &scopes,
            Some(json!({"scope": "write extra read"})),
            Access::Allow,
        ),
        (
            &scopes,
            Some(json!({"scp": ["read", "write"]})),
            Access::Allow,
        ),
        (&scopes, Some(json!({"scope": "read"})), Access::Deny),
        (&scopes, Some(json!({"scope": "readwrite"})), Access::Deny),
    ] {
        let rules = only(principal.clone(), OperationMatch::default());
        let sample = Sample {
            claims: claims.clone(),
            ..Sample::default()
        };
        assert_eq!(sample.decide(&rules, "GET", "/"), expected, "{claims:?}");
    }
    let mut other = only(scopes, OperationMatch::default());
    if let Some(token) = &mut other.rules[0].principal.token {
        token.provider = "other".to_owned();
    }
    let sample = Sample {
        claims: Some(json!({"scope": "read write"})),
        ..Sample::default()
    };
    assert_eq!(sample.decide(&other, "GET", "/"), Access::Deny);
}

fn condition(text: &str, access: Access) -> AuthorizationRules {
    let mut rules = only(PrincipalMatch::default(), OperationMatch::default());
    rules.rules[0].access = access;
    rules.rules[0].condition = Some(Condition {
        expression: text.parse().unwrap(),
        providers: vec![("corp".to_owned(), "main".to_owned())],
    });
    rules.default = match access {
        Access::Allow => Access::Deny,
        Access::Deny => Access::Allow,
    };
    rules
}

#[test]
fn conditions_see_the_attributes_of_the_request_and_the_client() {
    let sample = Sample {
        client: Some("10.9.9.9"),
        headers: vec![
            ("host", "shop.example.com"),
            ("x-tenant", "team-a"),
            ("x-role", "a"),
            ("x-role", "b"),
            ("user-agent", "curl/8"),
        ],
        claims: Some(json!({"groups": ["dev", "ops"], "realm": {"level": 3}})),
    };
    for text in [
        "request.path == '/admin/x?a=1' && request.url_path == '/admin/x' && request.query == 'a=1'",
        "request.method in ['GET', 'HEAD'] && request.protocol == 'HTTP/1.1' && request.scheme == 'http'",
        "request.host.endsWith('.example.com') && request.headers[':authority'] == request.host",
        "request.headers['X-Tenant'] == 'team-a' && 'x-role' in request.headers",
        "'x-tenant' in request.headers && !('x-missing' in request.headers)",
        "request.useragent.matches('^curl/') && !has(request.referer)",
        "source.address.startsWith('10.9.9.9:') && source.port == 0",
        "!connection.mtls && !has(connection.tls_version) && !has(destination.address)",
        "'ops' in metadata.filter_metadata['envoy.filters.http.jwt_authn']['corp']['groups']",
        "metadata.filter_metadata['envoy.filters.http.jwt_authn'].corp.realm.level > 2",
    ] {
        let rules = condition(text, Access::Allow);
        let decision = sample.decide(&rules, "GET", "/admin/x?a=1");
        assert_eq!(decision, Access::Allow, "{text}");
    }
}

#[test]
fn a_condition_without_a_value_denies() {
    for text in [
        "request.headers['x-missing'] == 'a'",
        "source.address == '10.9.9.9:0'",
        "metadata.filter_metadata['envoy.filters.http.jwt_authn']['corp']['sub'] == 'a'",
    ] {
        for access in [Access::Allow, Access::Deny] {
            let rules = condition(text, access);
            assert_eq!(
                Sample::default().decide(&rules, "GET", "/"),
                Access::Deny,
                "{text}"
            );
        }
    }
}

/// A second line of a field does not hide the field from a rule that denies, and does not grant access in a
/// rule that allows.
#[test]
fn a_field_without_one_clear_value_is_present_and_denies() {
    let lines = |values: &[&'static str]| Sample {
        headers: values.iter().map(|value| ("x-role", *value)).collect(),
        ..Sample::default()
    };
    let single = lines(&["evil"]);
    let unclear = [
        lines(&["evil", ""]),
        lines(&["", "evil"]),
        lines(&["ok", "ok"]),
    ];
    for (text, access, one, two) in [
        (
            "request.headers['x-role'] == 'evil'",
            Access::Deny,
            Access::Deny,
            Access::Deny,
        ),
        (
            "request.headers['x-role'] == 'ok'",
            Access::Deny,
            Access::Allow,
            Access::Deny,
        ),
        (
            "'x-role' in request.headers",
            Access::Deny,
            Access::Deny,
            Access::Deny,
        ),
        (
            "has(request.headers.x__dash__role)",
            Access::Deny,
            Access::Deny,
            Access::Deny,
        ),
        (
            "'x-role' in request.headers && request.headers['x-role'] == 'evil'",
            Access::Deny,
            Access::Deny,
            Access::Deny,
        ),
        (
            "request.headers['x-role'] != 'evil'",
            Access::Allow,
            Access::Deny,
            Access::Deny,
        ),
        (
            "request.headers['x-role'].contains('ok')",
            Access::Allow,
            Access::Deny,
            Access::Deny,
        ),
    ] {
        let rules = condition(text, access);
        assert_eq!(single.decide(&rules, "GET", "/"), one, "{text}");
        for sample in &unclear {
            let headers = &sample.headers;
            assert_eq!(sample.decide(&rules, "GET", "/"), two, "{text} {headers:?}");
        }
    }
}

#[test]
fn attributes_that_are_not_supported_are_named() {
    for (text, expected) in [
        (
            "request.size > 10",
            "the attribute `request.size` is not supported at byte 13",
        ),
        (
            "upstream.address == ''",
            "the variable `upstream` is not supported at byte 8",
        ),
        ("request.(", "expected a name at byte 9"),
        (
            "request.method",
            "expected a boolean, found a string at byte 0",
        ),
        (
            "metadata.filter_metadata['envoy.filters.http.jwt_authn'].size() > 0",
            "`metadata.filter_metadata['envoy.filters.http.jwt_authn']` has no size and no list of \
             keys; use `in`, `has` or a key at byte 0",
        ),
    ] {
        let error = text.parse::<AccessExpression>().unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

/// A pattern that matches nothing would open a rule that denies.
#[test]
fn a_condition_with_an_invalid_pattern_is_rejected() {
    for pattern in ["(", "(?x)a", "a**", r"\u0061", "a{1001}"] {
        let text = format!("request.path.matches(r'{pattern}')");

        let error = text.parse::<AccessExpression>().unwrap_err().to_string();

        assert!(error.starts_with("invalid regular expression"), "{error}");
    }
}

proptest! {
    /// The first rule that matches decides. If no rule matches, the default decides.
    #[test]
    fn decisions_agree_with_a_plain_loop(
        rules in prop::collection::vec((0_u8..4, any::<bool>()), 0..6),
        client in 0_u8..4,
        allow in any::<bool>(),
    ) {
        let access = |allow| if allow { Access::Allow } else { Access::Deny };
        let network = |n: u8| networks(&[&format!("10.{n}.0.0/16")]);
        let built = AuthorizationRules {
            rules: rules.iter().map(|(n, allow)| AccessRule {
                name: String::new(),
                access: access(*allow),
                principal: network(*n),
                operation: OperationMatch::default(),
                condition: None,
            }).collect(),
            default: access(allow),
            databases: Vec::new(),
        };
        let address = format!("10.{client}.0.1").leak();

        let mut expected = access(allow);
        for (n, allow) in rules.iter().rev() {
            if *n == client {
                expected = access(*allow);
            }
        }

        let sample = Sample { client: Some(address), ..Sample::default() };
        prop_assert_eq!(sample.decide(&built, "GET", "/"), expected);
    }
}
