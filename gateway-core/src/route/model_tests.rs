//! Compares the route table with a reference implementation, which scans all entries and has one line for
//! each criterion of the precedence.

use std::cmp::Ordering;
use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use towergate_tls::NamePattern;

use super::{Query, RouteTable};
use crate::route::matches::{GrpcMethodMatch, Match, NameMatch, PathMatch};
use crate::text::{Text, TextMatch};

/// Number of tables. With [`REQUESTS`] lookups each, there are 100,000 lookups.
const TABLES: u32 = 500;
const REQUESTS: usize = 200;

#[derive(Clone, Debug)]
struct Request {
    host: String,
    path: String,
    query: Option<String>,
    method: Method,
    headers: Vec<(&'static str, &'static str)>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: TABLES, ..ProptestConfig::default() })]

    /// The table finds the matching entry with the highest precedence. Among entries of equal precedence, it
    /// finds the first.
    #[test]
    fn find_agrees_with_a_plain_scan(
        entries in vec((any_hostname(), any_match()), 0..24),
        requests in vec(any_request(), REQUESTS),
        strict in any::<bool>(),
    ) {
        let table = RouteTable::build(
            entries.iter().enumerate().map(|(i, (host, entry))| (host.clone(), entry, i)),
        );

        for request in &requests {
            let headers = header_map(request);
            let query = Query {
                host: &request.host,
                path: &request.path,
                compared: None,
                query: request.query.as_deref(),
                method: &request.method,
                headers: &headers,
            };
            let found = table.find(&query, strict);

            prop_assert_eq!(
                found.as_ref().map(|f| *f.payload),
                model(&entries, request, strict),
                "{:?}", request
            );
            if let Some(found) = found {
                let (host, entry) = &entries[*found.payload];
                prop_assert_eq!(found.hostname, host);
                prop_assert_eq!(found.prefix, taken(&entry.path));
            }
        }
    }
}

fn model(entries: &[(NamePattern, Match)], request: &Request, strict: bool) -> Option<usize> {
    let mut hosts: Vec<&NamePattern> = entries
        .iter()
        .map(|(host, _)| host)
        .filter(|host| host.matches(&request.host))
        .collect();
    hosts.sort_by_key(|host| match host {
        NamePattern::Exact(_) => (0, 0),
        NamePattern::Wildcard(suffix) => (1, usize::MAX - suffix.len()),
        NamePattern::Any => (2, 0),
    });
    hosts.dedup();
    if strict {
        hosts.truncate(1);
    }
    hosts.into_iter().find_map(|host| {
        let mut best: Option<usize> = None;
        for (i, (of, entry)) in entries.iter().enumerate() {
            if of != host || !holds(entry, request) {
                continue;
            }
            if best.is_none_or(|b| precedence(entry, &entries[b].1) == Ordering::Greater) {
                best = Some(i);
            }
        }
        best
    })
}

fn precedence(a: &Match, b: &Match) -> Ordering {
    kind(&a.path)
        .cmp(&kind(&b.path))
        .then(lengths(&a.path).cmp(&lengths(&b.path)))
        .then(a.method.is_some().cmp(&b.method.is_some()))
        .then(a.headers.len().cmp(&b.headers.len()))
        .then(exact(&a.headers).cmp(&exact(&b.headers)))
        .then(a.query.len().cmp(&b.query.len()))
        .then(exact(&a.query).cmp(&exact(&b.query)))
}

fn kind(path: &PathMatch) -> u8 {
    let exact = |text: &TextMatch| matches!(text, TextMatch::Exact(_));
    match path {
        PathMatch::Prefix(_) => 1,
        PathMatch::Regex(_) => 2,
        PathMatch::Grpc(grpc) => match (&grpc.service, &grpc.method) {
            (None, Some(method)) if exact(method) => 3,
            (Some(service), None) if exact(service) => 4,
            (Some(service), Some(method)) if exact(service) && exact(method) => 5,
            _ => 2,
        },
        PathMatch::Exact(_) => 5,
    }
}

/// Length of the path. For gRPC, the length of the service, then of the method.
fn lengths(path: &PathMatch) -> (usize, usize) {
    let text = |text: &Option<TextMatch>| match text {
        None => 0,
        Some(TextMatch::Regex(regex)) => regex.as_str().chars().count(),
        Some(TextMatch::Exact(t) | TextMatch::Prefix(t) | TextMatch::Suffix(t)) => {
            t.chars().count()
        }
    };
    match path {
        PathMatch::Exact(path) => (path.chars().count(), 0),
        PathMatch::Prefix(path) => (path.trim_end_matches('/').chars().count(), 0),
        PathMatch::Regex(regex) => (regex.as_str().chars().count(), 0),
        // An exact service with an exact method is a whole path, like an exact path match.
        PathMatch::Grpc(_) if kind(path) == 5 => (usize::MAX, 0),
        PathMatch::Grpc(grpc) => (text(&grpc.service), text(&grpc.method)),
    }
}

fn exact<N>(conditions: &[NameMatch<N>]) -> usize {
    let exact = |condition: &&NameMatch<N>| matches!(condition.value, TextMatch::Exact(_));
    conditions.iter().filter(exact).count()
}

fn holds(entry: &Match, request: &Request) -> bool {
    let mut parameters = Vec::new();
    for pair in request.query.iter().flat_map(|query| query.split('&')) {
        let mut parts = pair.splitn(2, '=');
        parameters.push((parts.next().unwrap(), parts.next().unwrap_or("")));
    }
    path_holds(&entry.path, &request.path)
        && entry
            .method
            .as_ref()
            .is_none_or(|method| method.as_str() == request.method.as_str())
        && entry.headers.iter().all(|expected| {
            request.headers.iter().any(|(name, value)| {
                name.eq_ignore_ascii_case(expected.name.as_str()) && expected.value.matches(value)
            })
        })
        && entry.query.iter().all(|expected| {
            let first = parameters.iter().find(|(name, _)| *name == expected.name);
            first.is_some_and(|(_, value)| expected.value.matches(value))
        })
}

fn path_holds(expected: &PathMatch, path: &str) -> bool {
    let elements: Vec<&str> = path.split('/').collect();
    match expected {
        PathMatch::Exact(expected) => expected == path,
        PathMatch::Prefix(prefix) => {
            let first: Vec<&str> = prefix.trim_end_matches('/').split('/').collect();
            path.starts_with('/') && elements.starts_with(&first)
        }
        PathMatch::Regex(regex) => regex.is_match(path),
        PathMatch::Grpc(grpc) => match elements[..] {
            ["", service, method] if !service.is_empty() && !method.is_empty() => {
                grpc.service.as_ref().is_none_or(|s| s.matches(service))
                    && grpc.method.as_ref().is_none_or(|m| m.matches(method))
            }
            _ => false,
        },
    }
}

fn taken(path: &PathMatch) -> Option<usize> {
    match path {
        PathMatch::Prefix(prefix) => Some(prefix.trim_end_matches('/').len()),
        _ => None,
    }
}

fn header_map(request: &Request) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_static(value));
    }
    headers
}

static EXPRESSIONS: LazyLock<Vec<TextMatch>> = LazyLock::new(|| {
    let expressions = [
        "/a", "/a.*", "/b.*", "/.b", "/[ab]", "/a/b", "/.+/b", "/c.*", "/ab?", "/é.*", "a", "a.*",
        ".", "b|c",
    ];
    expressions
        .iter()
        .map(|expression| TextMatch::regex(expression).unwrap())
        .collect()
});

fn any_expression() -> impl Strategy<Value = Text<regex::Regex>> {
    (0..EXPRESSIONS.len()).prop_map(|i| match &EXPRESSIONS[i] {
        TextMatch::Regex(regex) => regex.clone(),
        _ => unreachable!("made by TextMatch::regex"),
    })
}

fn any_text() -> impl Strategy<Value = TextMatch> {
    let word = || select(vec!["a", "b", "ab", "1", ""]).prop_map(str::to_owned);
    prop_oneof![
        4 => word().prop_map(TextMatch::Exact),
        1 => word().prop_map(TextMatch::Prefix),
        1 => word().prop_map(TextMatch::Suffix),
        2 => any_expression().prop_map(TextMatch::Regex),
    ]
}

fn any_hostname() -> impl Strategy<Value = NamePattern> {
    select(vec!["*", "*.t", "*.a.t", "a.t", "b.a.t"]).prop_map(|name| name.parse().unwrap())
}

fn any_host() -> impl Strategy<Value = String> {
    select(vec!["", "a.t", "b.t", "b.a.t", "c.b.a.t", "t", ".a.t"]).prop_map(str::to_owned)
}

fn any_path() -> impl Strategy<Value = String> {
    let element = select(vec!["a", "b", "ab", "c", "é", ""]);
    prop_oneof![
        40 => vec(element, 1..4).prop_map(|elements| format!("/{}", elements.join("/"))),
        1 => Just("*".to_owned()),
        1 => Just(String::new()),
    ]
}

/// A path prefix that Gateway API allows: it is absolute, and only its last segment may be empty.
fn any_prefix() -> impl Strategy<Value = String> {
    let element = select(vec!["a", "b", "ab", "é"]);
    (vec(element, 0..3), any::<bool>()).prop_map(|(elements, slash)| {
        let end = if slash && !elements.is_empty() {
            "/"
        } else {
            ""
        };
        format!("/{}{end}", elements.join("/"))
    })
}

fn any_path_match() -> impl Strategy<Value = PathMatch> {
    let part = || proptest::option::of(any_text());
    prop_oneof![
        2 => any_path().prop_map(PathMatch::Exact),
        4 => any_prefix().prop_map(PathMatch::Prefix),
        2 => any_expression().prop_map(PathMatch::Regex),
        2 => (part(), part())
            .prop_map(|(service, method)| PathMatch::Grpc(GrpcMethodMatch { service, method })),
    ]
}

fn any_match() -> impl Strategy<Value = Match> {
    let method = proptest::option::weighted(0.3, any_method().prop_map(Text::from));
    let header = (select(vec!["x-a", "x-b"]), any_text()).prop_map(|(name, value)| NameMatch {
        name: name.parse().unwrap(),
        value,
    });
    let parameter = (select(vec!["p", "q"]), any_text()).prop_map(|(name, value)| NameMatch {
        name: name.to_owned(),
        value,
    });
    (
        any_path_match(),
        method,
        vec(header, 0..3),
        vec(parameter, 0..2),
    )
        .prop_map(|(path, method, headers, query)| Match {
            path,
            method,
            headers,
            query,
            cookies: Vec::new(),
        })
}

fn any_method() -> impl Strategy<Value = Method> {
    select(vec![Method::GET, Method::HEAD, Method::POST])
}

fn any_request() -> impl Strategy<Value = Request> {
    let query = select(vec![
        "", "p=a", "p=a&q=b", "q=1&p=", "p", "p=b&p=a", "&q=a=b",
    ]);
    let header = (select(vec!["X-A", "x-b"]), select(vec!["a", "b", "ab", ""]));
    (
        any_host(),
        any_path(),
        proptest::option::of(query.prop_map(str::to_owned)),
        any_method(),
        vec(header, 0..4),
    )
        .prop_map(|(host, path, query, method, headers)| Request {
            host,
            path,
            query,
            method,
            headers,
        })
}
