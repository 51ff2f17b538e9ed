//! Lookups in route tables. The expected results were recorded from Envoy, or are specified by Gateway API.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use towergate_tls::NamePattern;

use super::{HostTable, Query, RouteTable};
use crate::http::path::ComparedPath;
use crate::route::matches::{GrpcMethodMatch, Match, NameMatch, PathMatch};
use crate::text::{Text, TextMatch};

/// Header field lines of a request.
type Lines<'a> = &'a [(&'a str, &'a str)];

/// Looks up `request`, which has the form `METHOD host target`.
fn find<'t>(
    table: &'t RouteTable<&'static str>,
    request: &str,
    headers: Lines<'_>,
    strict_host: bool,
) -> Option<(&'t str, Option<usize>)> {
    let mut words = request.split(' ');
    let (method, host, target) = (words.next(), words.next(), words.next());
    let method: Method = method.unwrap().parse().unwrap();
    let (path, query) = match target.unwrap().split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target.unwrap(), None),
    };
    let compared = ComparedPath::of(path, false).unwrap();
    let headers: HeaderMap = headers
        .iter()
        .map(|(n, v)| {
            let name: HeaderName = n.parse().unwrap();
            (name, HeaderValue::from_bytes(v.as_bytes()).unwrap())
        })
        .collect();
    let query = Query {
        host: host.unwrap(),
        path,
        compared: compared.as_ref(),
        query,
        method: &method,
        headers: &headers,
    };
    table
        .find(&query, strict_host)
        .map(|found| (*found.payload, found.prefix))
}

fn table(entries: &[(&str, Match, &'static str)]) -> RouteTable<&'static str> {
    RouteTable::build(entries.iter().map(|(host, entry, name)| {
        let host: NamePattern = host.parse().unwrap();
        (host, entry, *name)
    }))
}

fn on(path: PathMatch) -> Match {
    Match {
        path,
        ..Match::default()
    }
}

fn prefix(path: &str) -> Match {
    on(PathMatch::Prefix(path.to_owned()))
}

fn exact(path: &str) -> Match {
    on(PathMatch::Exact(path.to_owned()))
}

fn regex_text(expression: &str) -> TextMatch {
    TextMatch::regex(expression).unwrap()
}

fn regex(expression: &str) -> Match {
    let TextMatch::Regex(expression) = regex_text(expression) else {
        unreachable!("made by TextMatch::regex");
    };
    on(PathMatch::Regex(expression))
}

fn grpc(service: Option<&str>, method: Option<&str>) -> Match {
    let exact = |text: &str| TextMatch::Exact(text.to_owned());
    on(PathMatch::Grpc(GrpcMethodMatch {
        service: service.map(exact),
        method: method.map(exact),
    }))
}

/// Methods that add conditions to a match.
trait With: Sized {
    fn method(self, method: Method) -> Self;
    fn header(self, name: &str, value: TextMatch) -> Self;
    fn parameter(self, name: &str, value: TextMatch) -> Self;

    fn header_is(self, name: &str, value: &str) -> Self {
        self.header(name, TextMatch::Exact(value.to_owned()))
    }

    fn parameter_is(self, name: &str, value: &str) -> Self {
        self.parameter(name, TextMatch::Exact(value.to_owned()))
    }
}

impl With for Match {
    fn method(mut self, method: Method) -> Self {
        self.method = Some(Text::from(method));
        self
    }

    fn header(mut self, name: &str, value: TextMatch) -> Self {
        let name = name.parse().unwrap();
        self.headers.push(NameMatch { name, value });
        self
    }

    fn parameter(mut self, name: &str, value: TextMatch) -> Self {
        let name = name.to_owned();
        self.query.push(NameMatch { name, value });
        self
    }
}

#[test]
fn paths_are_found_as_envoy_finds_them() {
    let table = table(&[
        ("*", prefix("/"), "a"),
        ("*", prefix("/foo"), "b"),
        ("*", exact("/foo"), "c"),
        ("*", regex("/foo/[0-9]+"), "d"),
        ("*", prefix("/foo/bar/"), "e"),
        ("*", exact("/trail/"), "f"),
        ("*", regex("/r.x"), "f-regex"),
        ("*", exact("/sp%20ce"), "e-exact"),
        ("*", prefix("/v1"), "d-prefix"),
        ("*", exact("/v2"), "d-exact"),
    ]);
    let cases = [
        ("/", "a", Some(0)),
        ("/foo", "c", None),
        ("/foo/", "b", Some(4)),
        ("/foo/x", "b", Some(4)),
        ("/foo/1", "d", None),
        ("/foo/1/", "b", Some(4)),
        ("/foo/bar", "e", Some(8)),
        ("/foo/bar/", "e", Some(8)),
        ("/foo/bar/1", "e", Some(8)),
        ("/foo/barn", "b", Some(4)),
        ("/foo?x=1", "c", None),
        ("/trail", "a", Some(0)),
        ("/trail/", "f", None),
        ("/rax", "f-regex", None),
        ("/xrax", "a", Some(0)),
        ("/sp%20ce", "e-exact", None),
        ("/v1", "d-prefix", Some(3)),
        ("/v2", "d-exact", None),
        ("/v2/x", "a", Some(0)),
        ("/Foo", "a", Some(0)),
        ("/foo;x", "a", Some(0)),
    ];

    for (path, name, prefix) in cases {
        let found = find(&table, &format!("GET a.test {path}"), &[], true);

        assert_eq!(found, Some((name, prefix)), "{path}");
    }
    assert_eq!(find(&table, "OPTIONS a.test *", &[], true), None);
}

/// One result differs from Envoy Gateway: a POST with `x-env: canary` matches `c`. In Gateway API, a method
/// match takes precedence over any number of header matches. Envoy Gateway counts the method as one more
/// header match, and selects the earlier rule `b`.
#[test]
fn headers_and_parameters_are_matched_as_envoy_matches_them() {
    let canary = || prefix("/").header_is("x-env", "canary");
    let table = table(&[
        ("*", prefix("/"), "a"),
        ("*", canary(), "b"),
        ("*", prefix("/").method(Method::POST), "c"),
        ("*", prefix("/").parameter_is("debug", "1"), "d"),
        ("*", canary().header("x-user", regex_text("u.*")), "e"),
        ("*", prefix("/longer"), "f"),
        ("*", prefix("/"), "echo"),
        (
            "*",
            prefix("/")
                .header_is("x-second", "yes")
                .parameter("q", regex_text("a.c")),
            "echo",
        ),
    ]);
    let canary = ("x-env", "canary");
    let second = ("x-second", "yes");
    let cases: &[(&str, Lines<'_>, &str)] = &[
        ("GET a.test /", &[], "a"),
        ("GET a.test /", &[canary], "b"),
        ("GET a.test /", &[canary, ("x-env", "other")], "b"),
        ("GET a.test /", &[("x-env", "canary,canary")], "a"),
        ("GET a.test /", &[canary, ("x-user", "u1")], "e"),
        ("GET a.test /longer", &[canary], "f"),
        ("POST a.test /", &[], "c"),
        ("POST a.test /", &[canary], "c"),
        ("GET a.test /?debug=1", &[], "d"),
        ("GET a.test /?a=b&debug=1", &[], "d"),
        ("GET a.test /?debug=1&debug=0", &[], "d"),
        ("GET a.test /?debug=0&debug=1", &[], "a"),
        ("GET a.test /?debug=%31", &[], "a"),
        ("GET a.test /?%64ebug=1", &[], "a"),
        ("GET a.test /?DEBUG=1", &[], "a"),
        ("GET a.test /?debug", &[], "a"),
        ("GET a.test /?q=a+c", &[second], "echo"),
        ("GET a.test /?q=abcd", &[second], "a"),
        ("GET a.test /?debug=1", &[canary], "b"),
        ("HEAD a.test /", &[], "a"),
    ];

    for (request, headers, name) in cases {
        let found = find(&table, request, headers, true);

        assert_eq!(found.map(|f| f.0), Some(*name), "{request} {headers:?}");
    }
}

#[test]
fn hosts_are_found_as_envoy_finds_them() {
    let table = table(&[
        ("*.example.com", prefix("/"), "wild"),
        ("*.team.example.com", prefix("/"), "deep"),
        ("app.example.com", prefix("/only"), "exact"),
        ("other.test", prefix("/"), "other"),
    ]);
    let cases = [
        ("app.example.com /", None),
        ("app.example.com /else", None),
        ("app.example.com /only", Some("exact")),
        ("b.example.com /", Some("wild")),
        ("*.example.com /", Some("wild")),
        ("a.team.example.com /", Some("deep")),
        ("a.b.team.example.com /", Some("deep")),
        ("other.test /", Some("other")),
        ("team.example.com /", Some("wild")),
        ("example.com /", None),
        ("unknown.test /", None),
        ("aexample.com /", None),
        (".example.com /", None),
    ];

    for (request, name) in cases {
        let found = find(&table, &format!("GET {request}"), &[], true);

        assert_eq!(found.map(|f| f.0), name, "{request}");
    }
}

/// A table with a redirect of all hosts to HTTPS, and with routes that respond to ACME challenges.
fn redirect_and_solver() -> RouteTable<&'static str> {
    table(&[
        ("*", prefix("/"), "redirect"),
        (
            "team-a.example.com",
            exact("/.well-known/acme-challenge/token-1"),
            "solver",
        ),
        ("*", prefix("/.well-known/acme-challenge/token-2"), "any"),
    ])
}

#[test]
fn with_strict_host_a_more_specific_host_hides_the_others_as_in_envoy() {
    let table = redirect_and_solver();
    let acme = "/.well-known/acme-challenge";
    let cases = [
        ("team-a", "/".to_owned(), None),
        ("team-a", "/a/b?x=1&y=2".to_owned(), None),
        ("team-a", format!("{acme}/token-1"), Some("solver")),
        ("team-a", format!("{acme}/token-2/x"), None),
        ("team-a", format!("{acme}/other"), None),
        ("team-b", "/a%20b".to_owned(), Some("redirect")),
        ("team-b", format!("{acme}/token-1"), Some("redirect")),
        ("team-b", format!("{acme}/token-1/x"), Some("redirect")),
        ("team-b", format!("{acme}/token-1?x"), Some("redirect")),
        ("team-b", format!("{acme}/token-2"), Some("any")),
        ("team-b", format!("{acme}/token-22"), Some("redirect")),
    ];

    for (host, target, name) in cases {
        let request = format!("GET {host}.example.com {target}");
        let found = find(&table, &request, &[], true);

        assert_eq!(found.map(|f| f.0), name, "{request}");
    }
}

/// Rules and spellings that are equivalent by RFC 3986, sections 6.2.2.1 and 3.3.
#[test]
fn an_equivalent_spelling_does_not_bypass_a_rule() {
    let table = table(&[
        ("*", prefix("/"), "open"),
        ("*", prefix("/%C3%A9"), "prefix"),
        ("*", exact("/a%5Bb%5D"), "exact"),
        ("*", regex("/x%C3%A9/.*"), "upper"),
        ("*", regex("/y%c3%a9/.*"), "lower"),
    ]);

    for (target, name, length) in [
        ("/%C3%A9/x", "prefix", Some(7)),
        ("/%c3%a9/x", "prefix", Some(7)),
        ("/a[b]", "exact", None),
        ("/a%5bb%5D", "exact", None),
        ("/x%c3%a9/1", "upper", None),
        ("/y%c3%a9/1", "lower", None),
        ("/%c3%aa", "open", Some(0)),
    ] {
        let found = find(&table, &format!("GET a.test {target}"), &[], false);

        assert_eq!(found, Some((name, length)), "{target}");
    }
}

#[test]
fn without_strict_host_the_less_specific_host_is_tried_next() {
    let table = redirect_and_solver();
    let acme = "GET team-a.example.com /.well-known/acme-challenge";

    let name = |request: &str| find(&table, request, &[], false).map(|f| f.0);

    assert_eq!(name(&format!("{acme}/token-1")), Some("solver"));
    assert_eq!(name(&format!("{acme}/token-2")), Some("any"));
    assert_eq!(name("GET team-a.example.com /"), Some("redirect"));
}

#[test]
fn a_head_request_does_not_match_a_rule_for_get() {
    let table = table(&[("*", prefix("/").method(Method::GET), "get")]);

    assert_eq!(find(&table, "HEAD a.test /", &[], false), None);
    assert!(find(&table, "GET a.test /", &[], false).is_some());
}

#[test]
fn a_request_without_a_host_is_for_rules_of_any_host() {
    let table = table(&[("*.test", prefix("/"), "wild"), ("*", prefix("/"), "any")]);

    assert_eq!(
        find(&table, "GET  /", &[], true).map(|found| found.0),
        Some("any")
    );
}

#[test]
fn a_method_comes_before_any_number_of_headers_and_exact_headers_before_patterns() {
    let two = prefix("/").header_is("a", "1").header_is("b", "1");
    let table = table(&[
        ("*", two, "two headers"),
        ("*", prefix("/").header("a", regex_text("1")), "pattern"),
        ("*", prefix("/").header_is("a", "1"), "exact"),
        ("*", prefix("/").method(Method::PUT), "method"),
    ]);
    let both = [("a", "1"), ("b", "1")];

    let name = |request: &str, headers: Lines<'_>| {
        find(&table, request, headers, false).map(|found| found.0)
    };

    assert_eq!(name("PUT a.test /", &both), Some("method"));
    assert_eq!(name("GET a.test /", &both), Some("two headers"));
    assert_eq!(name("GET a.test /", &both[..1]), Some("exact"));
}

#[test]
fn of_grpc_matches_the_service_counts_before_the_method() {
    let table = table(&[
        ("*", grpc(None, Some("Check")), "method"),
        ("*", grpc(Some("health.v1.Health"), None), "service"),
        ("*", grpc(Some("health.v1.Health"), Some("Watch")), "both"),
        ("*", prefix("/"), "all"),
    ]);
    let cases = [
        ("/health.v1.Health/Watch", "both"),
        ("/health.v1.Health/Check", "service"),
        ("/other/Check", "method"),
        ("/other/Check/more", "all"),
        ("/health.v1.Health", "all"),
        ("/health.v1.Health/", "all"),
        ("/Health.v1.Health/Watch", "all"),
    ];

    for (path, name) in cases {
        let found = find(&table, &format!("POST a.test {path}"), &[], false);

        assert_eq!(found.map(|f| f.0), Some(name), "{path}");
    }
}

#[test]
fn a_header_line_that_is_not_utf8_fits_no_pattern() {
    let table = table(&[("*", prefix("/").header("a", regex_text(".*")), "a")]);
    let mut headers = HeaderMap::new();
    headers.insert("a", HeaderValue::from_bytes(b"\xff").unwrap());
    let query = Query {
        host: "",
        path: "/",
        compared: None,
        query: None,
        method: &Method::GET,
        headers: &headers,
    };

    assert!(table.find(&query, false).is_none());
}

#[test]
fn many_expressions_are_found_in_the_same_order_as_few() {
    let letters = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let entries: Vec<(&str, Match, &'static str)> = letters
        .iter()
        .map(|letter| ("*", regex(&format!("/{letter}.*")), *letter))
        .chain([
            ("*", regex("/.+j"), "long"),
            ("*", regex("/a.*").method(Method::PUT), "put"),
        ])
        .collect();
    let table = table(&entries);

    let name = |request: &str| find(&table, request, &[], false).map(|found| found.0);

    assert_eq!(name("GET a.test /h"), Some("h"));
    assert_eq!(name("GET a.test /aj"), Some("a"));
    assert_eq!(name("PUT a.test /aj"), Some("put"));
    assert_eq!(name("GET a.test /xj"), Some("long"));
    assert_eq!(name("GET a.test /x"), None);
}

#[test]
fn tables_of_a_host_are_tried_in_their_order_whatever_their_matches() {
    let host: NamePattern = "a.example.com".parse().unwrap();
    let (app, longer) = (prefix("/app"), prefix("/app/longer"));
    let tables = [
        (&app, "first"),
        (&longer, "second"),
        (&Match::default(), "last"),
    ]
    .map(|entry| Arc::new(HostTable::build(host.clone(), [entry])));
    let table: RouteTable<_> = tables.into_iter().collect();

    for strict_host in [false, true] {
        let find = |target| {
            find(
                &table,
                &format!("GET a.example.com {target}"),
                &[],
                strict_host,
            )
        };
        assert_eq!(find("/app/longer").map(|found| found.0), Some("first"));
        assert_eq!(find("/").map(|found| found.0), Some("last"));
    }
}
