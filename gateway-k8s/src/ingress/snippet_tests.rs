//! Tests that snippets which protect paths are translated, or that the paths are closed.

use towergate_policy::authorization::{
    Access, AccessRule, AuthorizationRules, Condition, OperationMatch, PrincipalMatch, Subject,
};
use towergate_policy::jwt::VerifiedTokens;

use super::deny_rules::{DenyRule, RequestCondition};
use super::model::{IngressNginx, ModelAnswer, ModelRequest};
use super::verdict_tests::{NEVER, config, ingress, migrate, verdict};
use super::{Manifests, Migration};

const PERMITTED: [(&str, &str); 2] = [
    ("allow-snippet-annotations", "true"),
    ("annotations-risk-level", "Critical"),
];

fn with_snippet(name: &str, text: &str) -> String {
    let text = text.replace('\'', "''");
    let owner = ingress("owner", &[(name, &text)], "/");
    format!("{}{owner}", config(&PERMITTED))
}

/// Rules of the SecurityPolicies, and the statuses of local replies.
fn protection(migration: &Migration) -> Vec<String> {
    let mut found = Vec::new();
    for object in migration.objects.iter() {
        let spec = &object.value["spec"];
        let rules = spec["authorization"]["rules"].as_array();
        for rule in rules.into_iter().flatten() {
            let action = rule["action"].as_str().unwrap_or_default();
            let networks = &rule["principal"]["clientCIDRs"];
            let text = rule["cel"].as_str().map(str::to_owned);
            found.push(format!(
                "{action} {}",
                text.unwrap_or_else(|| networks.to_string())
            ));
        }
        if let Some(status) = spec["directResponse"]["statusCode"].as_u64() {
            found.push(status.to_string());
        }
    }
    found
}

#[test]
fn a_directive_without_an_equivalent_closes_the_paths_unless_it_is_harmless() {
    for (text, closes) in [
        ("a_module_that_is_not_known on;", true),
        ("auth_basic private;", true),
        ("limit_req zone=a;", true),
        ("modsecurity on;", true),
        ("valid_referers none blocked;", true),
        ("access_by_lua_file /a.lua;", true),
        ("if ($invalid_referer) { return 403; }", true),
        ("if ($http_x ~ (?!a)b) { return 403; }", true),
        ("deny unix:;", true),
        ("more_clear_input_headers X-*;", true),
        ("expires 1h;", false),
        ("add_header X-A $request_id;", false),
        ("proxy_set_header X-User $upstream_http_user;", false),
    ] {
        let migration = migrate(&with_snippet("configuration-snippet", text));

        let closed = protection(&migration).contains(&"500".to_owned());
        assert_eq!(closed, closes, "{text}");
        let (outcome, reason) = verdict(&migration, "configuration-snippet");
        assert_eq!(outcome, NEVER, "{text}");
        assert_eq!(
            reason.contains("remove them from the snippet"),
            closes,
            "{reason}"
        );
    }
}

#[test]
fn the_requests_that_a_location_or_condition_covers_are_rejected() {
    for (text, rule) in [
        (
            "location /x { deny all; }",
            "(request.url_path.startsWith('/x'))",
        ),
        (
            "location = /x { return 404; }",
            "(request.url_path == '/x')",
        ),
        (
            "location ~ \\.php$ { deny all; }",
            "(request.url_path.matches('\\\\.php$'))",
        ),
        (
            "location ~* ^/x { deny all; }",
            "(request.url_path.matches('(?i)^/x'))",
        ),
        (
            "location ^~ /x { stub_status; }",
            "(request.url_path.startsWith('/x'))",
        ),
        (
            "location /x { allow 10.0.0.0/8; deny all; }",
            "(request.url_path.startsWith('/x'))",
        ),
        (
            "rewrite ^/a/(.*)$ /b/$1 last;",
            "(request.url_path.matches('^/a/(.*)$'))",
        ),
        (
            "if ($request_method = TRACE) { return 405; }",
            "(request.method == 'TRACE')",
        ),
        (
            "if ($http_user_agent ~* \"(bot|spider)\") { return 403; }",
            "('user-agent' in request.headers && request.headers['user-agent'].matches('(?i)(bot|spider)'))",
        ),
        (
            "if ($ssl_client_verify != SUCCESS) { return 403; }",
            "!connection.mtls",
        ),
        (
            "limit_except GET { deny all; }",
            "!(request.method.matches('^(?:GET|HEAD)$'))",
        ),
        ("return 503;", "true"),
        ("try_files $uri =403;", "true"),
    ] {
        let migration = migrate(&with_snippet("server-snippet", text));

        let found = protection(&migration);
        assert!(found.contains(&format!("Deny {rule}")), "{text}: {found:?}");
        assert!(!found.contains(&"500".to_owned()), "{text}");
    }
}

#[test]
fn a_server_snippet_guards_the_paths_of_other_ingresses_of_the_host() {
    for (text, expected) in [
        ("deny 192.0.2.1;", "Deny [\"192.0.2.1/32\"]"),
        (
            "if ($http_x = bad) { return 403; }",
            "Deny ('x' in request.headers && request.headers['x'] == 'bad')",
        ),
        ("access_by_lua_file /a.lua;", "500"),
    ] {
        let other = ingress("other", &[], "/other").replace("namespace: shop", "namespace: blog");
        let migration = migrate(&format!("{}{other}", with_snippet("server-snippet", text)));

        let guarded: Vec<&str> = migration
            .objects
            .iter()
            .filter(|object| {
                let text = object.value["spec"].to_string();
                let rule = expected
                    .strip_prefix("Deny ")
                    .unwrap_or("\"statusCode\":500");
                object.kind != "HTTPRoute" && text.contains(rule)
            })
            .map(|object| object.key.namespace.as_str())
            .collect();
        assert!(
            guarded.contains(&"shop") && guarded.contains(&"blog"),
            "{text}: {guarded:?}"
        );
    }
}

#[test]
fn source_ranges_of_snippets_follow_those_of_annotations_and_keep_their_order() {
    let snippet = (
        "configuration-snippet",
        "allow 10.0.0.0/8; allow 10.9.0.1; deny 192.0.2.0/24; deny all;",
    );
    for (more, expected) in [
        (
            None,
            vec![
                "Allow [\"10.0.0.0/8\",\"10.9.0.1/32\"]",
                "Deny [\"192.0.2.0/24\",\"0.0.0.0/0\",\"::/0\"]",
            ],
        ),
        (
            Some(("whitelist-source-range", "172.16.0.0/12")),
            vec!["Allow [\"172.16.0.0/12\"]"],
        ),
        (
            Some(("denylist-source-range", "10.1.0.0/16")),
            vec![
                "Deny [\"10.1.0.0/16\"]",
                "Allow [\"10.0.0.0/8\",\"10.9.0.1/32\"]",
                "Deny [\"192.0.2.0/24\",\"0.0.0.0/0\",\"::/0\"]",
            ],
        ),
    ] {
        let annotations: Vec<_> = [snippet].into_iter().chain(more).collect();
        let text = format!(
            "{}{}",
            config(&PERMITTED),
            ingress("web", &annotations, "/")
        );

        let mut found = protection(&migrate(&text));
        found.dedup();
        assert_eq!(found, expected, "{more:?}");
    }
}

#[test]
fn fields_that_nginx_sets_from_variables_or_clears_are_not_those_of_the_client() {
    let text = "proxy_set_header X-User $upstream_http_user; more_clear_input_headers X-Admin;";
    let migration = migrate(&with_snippet("configuration-snippet", text));

    let route = migration.objects.iter().find(|one| one.kind == "HTTPRoute");
    let route = route.map(|one| one.value.to_string()).unwrap_or_default();
    assert!(
        route.contains(r#""remove":["X-User","X-Admin"]"#),
        "{route}"
    );
}

#[test]
fn the_subject_of_client_certificates_is_compared_on_all_paths_of_the_host() {
    let certificate = [
        ("auth-tls-secret", "shop/ca"),
        ("auth-tls-match-cn", "CN=known"),
    ];
    let owner = ingress("owner", &certificate, "/");
    let other = ingress("other", &[], "/other").replace("namespace: shop", "namespace: blog");

    let migration = migrate(&format!("{owner}{other}"));

    let policies = migration.objects.iter();
    let policies = policies.filter(|one| one.kind == "SecurityPolicy");
    let namespaces: Vec<_> = policies.map(|one| one.key.namespace.clone()).collect();
    assert_eq!(namespaces, ["blog", "shop"]);
}

#[test]
fn a_snippet_that_cannot_be_read_closes_its_paths() {
    let lua = "access_by_lua_block { if not ngx.var.http_x then return ngx.exit(403) end }";
    for (name, snippet) in [
        ("configuration-snippet", lua),
        ("server-snippet", lua),
        ("configuration-snippet", "deny all"),
    ] {
        let migration = migrate(&with_snippet(name, snippet));

        assert_eq!(verdict(&migration, name).0, NEVER, "{name}");
        assert_eq!(protection(&migration), ["500"], "{name}: {snippet}");
    }
}

#[test]
fn blocked_referers_and_user_agents_of_the_config_map_are_rejected_on_all_paths() {
    let agent = "'user-agent' in request.headers && request.headers['user-agent']";
    for (entry, expected) in [
        (
            "curl/8.1",
            format!("Deny ({agent}.matches('(?i)^curl/8\\\\.1$'))"),
        ),
        ("~^Bot", format!("Deny ({agent}.matches('^Bot'))")),
        ("~*bot", format!("Deny ({agent}.matches('(?i)bot'))")),
        ("~*(?!a)b", "500".to_owned()),
    ] {
        let keys = config(&[("block-user-agents", &format!("x, {entry}"))]);

        let found = protection(&migrate(&format!("{keys}{}", ingress("web", &[], "/"))));
        assert!(found.contains(&expected), "{entry}: {found:?}");
    }
    let keys = config(&[("block-referers", "~*spam\\.test")]);
    let mut manifests = Manifests::default();
    manifests.add("in.yaml", &format!("{keys}{}", ingress("web", &[], "/")));
    let nginx = IngressNginx::new(&manifests, &[]);
    let rejected = nginx.answer(&request("/", &[("referer", "http://SPAM.test/")]));
    let served = nginx.answer(&request("/", &[("referer", "http://ham.test/")]));
    assert!(matches!(rejected, ModelAnswer::Reply { status: 403, .. }));
    assert!(matches!(served, ModelAnswer::Proxy { .. }));
}

#[test]
fn modsecurity_that_rejects_requests_closes_the_paths() {
    for (annotations, keys, closes) in [
        (&[("enable-modsecurity", "true")][..], &[][..], false),
        (
            &[
                ("enable-modsecurity", "true"),
                ("modsecurity-snippet", "SecRuleEngine On"),
            ],
            &[],
            true,
        ),
        (&[("modsecurity-snippet", "SecRuleEngine On")], &[], false),
        (
            &[],
            &[
                ("enable-modsecurity", "true"),
                ("modsecurity-snippet", "SecRuleEngine On"),
            ],
            true,
        ),
    ] {
        let mut keys = keys.to_vec();
        keys.extend(PERMITTED);
        let text = format!("{}{}", config(&keys), ingress("web", annotations, "/"));

        let closed = protection(&migrate(&text)).contains(&"500".to_owned());
        assert_eq!(closed, closes, "{annotations:?} {keys:?}");
    }
}

fn request(target: &str, headers: &[(&str, &str)]) -> ModelRequest {
    let mut headers: Vec<(String, String)> = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    headers.insert(0, ("host".to_owned(), "a.test".to_owned()));
    ModelRequest {
        https: false,
        method: "GET".to_owned(),
        target: target.to_owned(),
        headers,
        client: [192, 0, 2, 1].into(),
        body_len: 0,
        http10: false,
        certificate: None,
        auth_status: None,
    }
}

/// The decision of the gateway about a request.
fn decide(rule: &DenyRule, request: &ModelRequest) -> Access {
    let mut head = http::Request::builder()
        .method(request.method.as_str())
        .uri(&request.target);
    for (name, value) in &request.headers {
        head = head.header(name, value);
    }
    let (head, ()) = head.body(()).expect("valid").into_parts();
    let expression = rule.cel().expect("an expression");
    let rules = AuthorizationRules {
        rules: vec![AccessRule {
            name: "rule".to_owned(),
            access: Access::Deny,
            principal: PrincipalMatch::default(),
            operation: OperationMatch::default(),
            condition: Some(Condition {
                expression: expression.parse().expect("valid CEL"),
                providers: Vec::new(),
            }),
        }],
        default: Access::Allow,
        databases: Vec::new(),
    };
    rules.decide(&Subject {
        head: &head,
        version: head.version,
        client: Some(request.client),
        connection: None,
        tokens: &VerifiedTokens::default(),
        databases: None,
    })
}

#[test]
fn expressions_agree_with_the_model_on_every_condition() {
    let requests = [
        request("/", &[]),
        request("/a?x=1&y=2", &[("x-a", "1"), ("cookie", "s=1; T=abc")]),
        request("/a.php?x=", &[("x-a", ""), ("cookie", "s=0")]),
        request("/b?X=10", &[("x-a", "10"), ("cookie", "ss=1; s=")]),
        request(
            "/b/c?z=x=1",
            &[("user-agent", "GoogleBot/2"), ("referer", "http://a.b/")],
        ),
        request("/0?x=0", &[("x-a", "0"), ("cookie", "t=xabcx")]),
    ];
    for words in [
        &["$http_x_a", "=", "1"][..],
        &["$http_x_a", "!=", "1"],
        &["$http_x_a", "=", ""],
        &["$http_x_a"],
        &["$http_x_a", "~", "^1"],
        &["$http_x_a", "!~", "^1"],
        &["$http_x_a", "~", "^$"],
        &["$http_user_agent", "~*", "googlebot|bing"],
        &["$http_referer", "!~*", "^https?://A\\.b/"],
        &["$request_method", "!~", "^(GET|POST)$"],
        &["$host", "=", "a.test"],
        &["$host", "!~*", "^b\\."],
        &["$scheme", "=", "http"],
        &["$uri", "=", "/b/c"],
        &["$request_uri", "~", "\\?x="],
        &["$args", "~", "y=2"],
        &["$arg_x", "=", "1"],
        &["$arg_x", "!=", "1"],
        &["$arg_x", "=", ""],
        &["$arg_x", "!=", ""],
        &["$arg_x"],
        &["$arg_x", "~", "0"],
        &["$cookie_s", "=", "1"],
        &["$cookie_s", "!=", "1"],
        &["$cookie_s", "=", ""],
        &["$cookie_s", "!=", ""],
        &["$cookie_s"],
        &["$cookie_t", "~", "b"],
        &["$cookie_T", "=", "abc"],
        &["$remote_addr", "=", "192.0.2.1"],
        &["$remote_addr", "!=", "192.0.2.1"],
        &["$remote_addr", "!~", "^10\\."],
        &["$ssl_client_verify", "!=", "SUCCESS"],
    ] {
        let condition = RequestCondition::parse(words).unwrap_or_else(|| panic!("{words:?}"));
        let rule = DenyRule {
            conditions: vec![condition],
            status: Some(403),
            below_paths: false,
        };
        for request in &requests {
            let path = request.target.split('?').next().unwrap_or_default();
            let expected = match rule.holds(request, path) {
                true => Access::Deny,
                false => Access::Allow,
            };

            assert_eq!(
                decide(&rule, request),
                expected,
                "{words:?} {} {:?}: {:?}",
                request.target,
                request.headers,
                rule.cel()
            );
        }
    }
}

#[test]
fn conditions_that_cannot_be_compared_have_no_equivalent() {
    for words in [
        &["$invalid_referer"][..],
        &["$bad_bot", "=", "1"],
        &["-f", "$request_filename"],
        &["$http_x", "=", "$arg_y"],
        &["$http_x", "~", "(?=a)b"],
        &["$cookie_s", "!~", "a"],
        &["$cookie_s", "~", "^a$"],
        &["$remote_addr", "~", "1$"],
        &["$host", "=", "a.test:8080"],
    ] {
        assert_eq!(RequestCondition::parse(words), None, "{words:?}");
    }
}

#[test]
fn the_model_rejects_what_snippets_reject() {
    let text = with_snippet(
        "server-snippet",
        "location /x { deny all; } if ($http_a = b) { return 429; } deny 198.51.100.0/24;",
    );
    let longer = ingress("longer", &[], "/x/public").replace("namespace: shop", "namespace: blog");
    let mut manifests = Manifests::default();
    manifests.add("in.yaml", &format!("{text}{longer}"));
    let nginx = IngressNginx::new(&manifests, &[]);
    let status = |request: &ModelRequest| match nginx.answer(request) {
        ModelAnswer::Reply { status, .. } => status,
        ModelAnswer::Proxy { .. } => 200,
    };
    let elsewhere = ModelRequest {
        client: [198, 51, 100, 7].into(),
        ..request("/x/public/", &[])
    };

    assert_eq!(status(&request("/xyz", &[])), 403);
    assert_eq!(status(&request("/x/public/", &[])), 200);
    assert_eq!(status(&request("/x/public", &[("a", "b")])), 429);
    assert_eq!(status(&elsewhere), 403);
    assert_eq!(status(&request("/y", &[])), 200);
}
