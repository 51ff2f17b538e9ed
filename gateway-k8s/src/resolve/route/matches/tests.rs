use http::{HeaderMap, HeaderName};
use serde_json::{Value, json};
use towergate_core::route::{Query, RouteTable};
use towergate_tls::NamePattern;

use super::*;

/// A rule that protects something, and a less specific rule.
struct Rules {
    protected: RuleMatches,
    other: RuleMatches,
}

impl Rules {
    fn http(protected: Value, other: Value) -> Self {
        let read = |matches| {
            let matches: Vec<HttpRouteMatch> = serde_json::from_value(json!([matches])).unwrap();
            RuleMatches::http(&matches, 0, &[])
        };
        let (protected, other) = (read(protected), read(other));
        assert!(other.faults.is_empty());
        Self { protected, other }
    }

    fn grpc(protected: Value, other: Value) -> Self {
        let read = |matches| {
            let matches: Vec<GrpcRouteMatch> = serde_json::from_value(json!([matches])).unwrap();
            RuleMatches::grpc(&matches, 0, &[])
        };
        let (protected, other) = (read(protected), read(other));
        assert!(other.faults.is_empty());
        Self { protected, other }
    }

    /// The fields with errors.
    fn fields(&self) -> Vec<&str> {
        let faults = self.protected.faults.iter();
        faults.map(|fault| fault.field.as_str()).collect()
    }

    /// Whether the protected rule gets a request, given as method, path and header fields.
    fn protects(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> bool {
        let rules = [(&self.protected, true), (&self.other, false)];
        let entries = rules.into_iter().flat_map(|(rule, protected)| {
            let matches = rule.matches.iter();
            matches.map(move |found| (NamePattern::Any, found, protected))
        });
        let table = RouteTable::build(entries);
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(path, query)| (path, Some(query)));
        let query = Query {
            host: "a.test",
            path,
            compared: None,
            query,
            method: &method.parse().unwrap(),
            headers: &headers,
        };
        table
            .find(&query, false)
            .is_some_and(|found| *found.payload)
    }
}

#[test]
fn an_invalid_path_is_protected_in_each_way_in_which_it_may_be_meant() {
    for (path, field, protected) in [
        (
            json!({ "type": "Prefix", "value": "/admin" }),
            "type",
            "/admin/x",
        ),
        (
            json!({ "type": "exact", "value": "/admin" }),
            "type",
            "/admin",
        ),
        (
            json!({ "type": "Regex", "value": "/admin/[a-z]+" }),
            "type",
            "/admin/x",
        ),
        (
            json!({ "type": "Regex", "value": "/admin[" }),
            "type",
            "/admin/x",
        ),
        (
            json!({ "type": "RegularExpression", "value": "/admin[" }),
            "value",
            "/admin/x",
        ),
        (
            json!({ "type": "RegularExpression", "value": "/admin/.*[" }),
            "value",
            "/admin/x",
        ),
        (json!({ "value": "admin" }), "value", "/admin/x"),
        (
            json!({ "value": "https://a.test/admin" }),
            "value",
            "/admin/x",
        ),
        (
            json!({ "type": "Exact", "value": "admin" }),
            "value",
            "/admin",
        ),
        (json!({ "value": "/admin//x" }), "value", "/admin/x"),
        (json!({ "value": "/a/../admin" }), "value", "/admin/x"),
        (json!({ "value": "/admin%2fx" }), "value", "/admin/x"),
        (json!({ "value": "/admin?x" }), "value", "/admin/x"),
        (json!({ "value": "/ad min" }), "value", "/ad%20min/x"),
        (json!({ "value": "/admin/." }), "value", "/admin/x"),
    ] {
        let rules = Rules::http(json!({ "path": path }), json!({ "path": { "value": "/" } }));

        assert_eq!(
            rules.fields(),
            [format!(".matches[0].path.{field}")],
            "{path}"
        );
        assert!(rules.protected.lost.is_none(), "{path}");
        assert!(rules.protects("GET", protected, &[]), "{path}");
        assert!(!rules.protects("GET", "/open", &[]), "{path}");
    }
}

#[test]
fn a_valid_path_is_read_in_its_normal_spelling() {
    let rules = Rules::http(
        json!({ "path": { "value": "/%61dmin" } }),
        json!({ "path": { "value": "/" } }),
    );

    assert_eq!(rules.fields(), [""; 0]);
    assert!(rules.protects("GET", "/admin/x", &[]));
}

#[test]
fn a_path_of_which_nothing_is_certain_may_be_any() {
    for path in [
        json!({ "type": "RegularExpression", "value": ".*[" }),
        json!({ "type": "RegularExpression", "value": "/a|/b[" }),
        json!({ "type": "Prefix", "value": "*[" }),
        json!({ "value": "" }),
        json!({ "value": "^/admin" }),
        json!({ "type": "Exact", "value": "#" }),
    ] {
        let rules = Rules::http(json!({ "path": path }), json!({ "path": { "value": "/" } }));

        assert!(rules.protected.lost.is_some(), "{path}");
        assert_eq!(rules.protected.matches, [Match::default()]);
        assert_eq!(rules.fields().len(), 1);
    }
}

#[test]
fn what_is_kept_takes_precedence_as_the_match_that_was_meant() {
    let rules = Rules::http(
        json!({ "path": { "type": "exact", "value": "/admin/login" } }),
        json!({ "path": { "type": "RegularExpression", "value": "/admin/.*" } }),
    );
    assert!(rules.protects("GET", "/admin/login", &[]));

    let rules = Rules::http(
        json!({ "path": { "type": "RegularExpression", "value": "/admin/.*[" } }),
        json!({ "path": { "type": "RegularExpression", "value": "/[a-z]*/x" } }),
    );
    assert!(rules.protects("GET", "/admin/x", &[]));

    let rules = Rules::http(
        json!({ "path": { "value": "/admin" }, "method": "FOO" }),
        json!({ "path": { "value": "/admin" }, "method": "GET" }),
    );
    assert!(rules.protects("GET", "/admin/x", &[]));
}

#[test]
fn an_unknown_method_is_the_one_in_upper_case_or_any() {
    let other = || json!({ "path": { "value": "/" } });
    let lower = Rules::http(
        json!({ "path": { "value": "/admin" }, "method": "get" }),
        other(),
    );
    let unknown = Rules::http(
        json!({ "path": { "value": "/admin" }, "method": "FOO" }),
        other(),
    );

    assert_eq!(lower.fields(), [".matches[0].method"]);
    assert_eq!(unknown.fields(), [".matches[0].method"]);
    assert!(lower.protects("GET", "/admin/x", &[]));
    assert!(!lower.protects("POST", "/admin/x", &[]));
    assert!(unknown.protects("GET", "/admin/x", &[]));
    assert!(unknown.protects("PURGE", "/admin/x", &[]));
}

#[test]
fn of_an_invalid_header_or_parameter_its_presence_is_kept() {
    for (field, entry, part) in [
        (
            "headers",
            json!({ "type": "exact", "name": "x-role", "value": "admin" }),
            "type",
        ),
        (
            "headers",
            json!({ "type": "RegularExpression", "name": "x-role", "value": "admin[" }),
            "value",
        ),
        ("headers", json!({ "name": "x-role" }), "value"),
        (
            "queryParams",
            json!({ "type": "Regex", "name": "role", "value": "admin" }),
            "type",
        ),
        (
            "queryParams",
            json!({ "type": "RegularExpression", "name": "role", "value": "(" }),
            "value",
        ),
        (
            "queryParams",
            json!({ "name": "role", "value": "" }),
            "value",
        ),
    ] {
        let rules = Rules::http(
            json!({ "path": { "value": "/admin" }, field: [entry] }),
            json!({ "path": { "value": "/" } }),
        );

        assert_eq!(rules.fields(), [format!(".matches[0].{field}[0].{part}")]);
        assert!(
            rules.protects("GET", "/admin?role=x", &[("x-role", "x")]),
            "{entry}"
        );
        assert!(!rules.protects("GET", "/admin", &[]), "{entry}");
    }
}

#[test]
fn of_a_name_that_is_none_the_rest_of_the_match_is_kept() {
    for field in ["headers", "queryParams"] {
        let rules = Rules::http(
            json!({ "path": { "value": "/admin" }, field: [{ "name": "x role", "value": "a" }] }),
            json!({ "path": { "value": "/" } }),
        );

        assert_eq!(rules.fields(), [format!(".matches[0].{field}[0].name")]);
        assert!(rules.protects("GET", "/admin/x", &[]));
    }
}

#[test]
fn of_an_invalid_grpc_method_the_certain_start_is_kept() {
    for (method, part, path) in [
        (
            json!({ "type": "exact", "service": "a.Admin" }),
            "type",
            "/a.Admin/Get",
        ),
        (
            json!({ "type": "Prefix", "service": "a.Admin", "method": "G.*" }),
            "type",
            "/a.Admin/Get",
        ),
        (
            json!({ "type": "RegularExpression", "service": "a\\.Adm[" }),
            "service",
            "/a.Admin/Get",
        ),
        (
            json!({ "service": "a.Admin/Get" }),
            "service",
            "/a.Admin/Get",
        ),
        (
            json!({ "service": "a.Admin", "method": "Get/" }),
            "method",
            "/a.Admin/Get",
        ),
        (
            json!({ "type": "RegularExpression", "method": "Ge[" }),
            "method",
            "/a.Admin/Get",
        ),
    ] {
        let rules = Rules::grpc(json!({ "method": method }), json!({}));

        assert_eq!(
            rules.fields(),
            [format!(".matches[0].method.{part}")],
            "{method}"
        );
        assert!(rules.protects("POST", path, &[]), "{method}");
        assert!(!rules.protects("POST", "/a.Open/Do", &[]), "{method}");
    }
}

#[test]
fn a_grpc_method_of_which_nothing_is_certain_may_be_any() {
    for method in [
        json!({ "service": "/a.Admin" }),
        json!({ "type": "RegularExpression", "method": "(?i)get[" }),
    ] {
        assert!(
            Rules::grpc(json!({ "method": method }), json!({}))
                .protected
                .lost
                .is_some()
        );
    }
}

#[test]
fn a_field_that_the_decoder_could_not_read_counts_as_invalid() {
    let unread = |matches: Value, field: &str| {
        let matches: Vec<HttpRouteMatch> = serde_json::from_value(matches).unwrap();
        let unread = [SchemaViolation {
            field: format!("spec.rules[1]{field}"),
            message: String::new(),
        }];
        RuleMatches::http(&matches, 1, &unread)
    };
    let admin = || json!([{ "path": { "value": "/admin" } }]);

    for (matches, field) in [
        (json!([]), ".matches"),
        (json!([]), ".mathces"),
        (json!([{}]), ".matches[0]"),
        (json!([{}]), ".matches[0].paht"),
        (json!([{ "path": {} }]), ".matches[0].path.vlaue"),
    ] {
        assert!(unread(matches, field).lost.is_some(), "{field}");
    }
    for field in [
        ".filtres",
        ".filters[0].tpye",
        ".matches[0].heders",
        ".matches[0].path.tpye",
    ] {
        let found = unread(admin(), field);

        assert!(found.lost.is_none(), "{field}");
        let prefix = towergate_core::plan::PathMatch::Prefix("/admin".to_owned());
        assert!(
            found.matches.iter().any(|found| found.path == prefix),
            "{field}"
        );
    }
    assert!(unread(json!([]), ".filters[0].tpye").lost.is_none());
    assert!(unread(admin(), ".matches[0].method").matches.len() > 9);
}

#[test]
fn only_a_lost_expression_leaves_exact_paths_certain() {
    let lost = |path: serde_json::Value| {
        let other = json!({ "path": { "value": "/" } });
        Rules::http(json!({ "path": path }), other).protected.lost
    };

    let expression = lost(json!({ "type": "RegularExpression", "value": "*[" }));
    let prefix = lost(json!({ "type": "PathPrefix", "value": "" }));
    let unknown = lost(json!({ "type": "Regex", "value": "*[" }));

    assert_eq!(expression, Some(LostPath::Expression));
    assert_eq!(prefix, Some(LostPath::Unknown));
    assert_eq!(unknown, Some(LostPath::Unknown));
}

#[test]
fn exact_paths_beside_a_lost_expression_are_kept() {
    let matches = [
        json!({ "path": { "type": "Exact", "value": "/login" }, "method": "POST" }),
        json!({ "path": { "type": "RegularExpression", "value": "*[" } }),
    ];
    let matches = matches.map(|one| serde_json::from_value::<HttpRouteMatch>(one).unwrap());

    let found = RuleMatches::http(&matches, 0, &[]);

    let exact = towergate_core::plan::PathMatch::Exact("/login".to_owned());
    assert_eq!(found.lost, Some(LostPath::Expression));
    assert!(found.matches.iter().any(|kept| kept.path == exact));
    assert!(found.matches.contains(&Match::default()));
}
