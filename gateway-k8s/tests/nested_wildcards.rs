//! Status, diagnostics and traffic agree on nested hostnames of listeners and routes. The most specific
//! listener of a port serves a request with the routes that are attached to it. A route that is not accepted
//! serves no request.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fmt::Write as _;

use http::{Request, StatusCode};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use tower::ServiceExt;
use towergate_core::Body;
use towergate_core::gateway::{Gateway, Options};
use towergate_k8s::decode::decode;
use towergate_k8s::resolve::{Resolution, ResolveOptions, resolve};

/// Hostnames of listeners; empty: all.
const LISTENERS: [&str; 7] = [
    "",
    "*.test",
    "*.a.test",
    "a.test",
    "*.b.a.test",
    "b.a.test",
    "c.b.a.test",
];
/// Hostnames of routes.
const ROUTES: [&str; 8] = [
    "*.test",
    "*.a.test",
    "a.test",
    "*.b.a.test",
    "b.a.test",
    "c.b.a.test",
    "d.test",
    "other",
];
/// A host for each combination of these hostnames.
const HOSTS: [&str; 9] = [
    "test",
    "a.test",
    "d.test",
    "e.test",
    "b.a.test",
    "e.a.test",
    "c.b.a.test",
    "e.b.a.test",
    "other",
];

fn matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => host.ends_with(suffix),
        None => pattern.is_empty() || pattern == host,
    }
}

/// The listener that serves `host`: the listener with the exact name, else the listener with the longest
/// matching wildcard.
fn listener_of(listeners: &[&str], host: &str) -> Option<usize> {
    let all = listeners.iter().enumerate();
    let all = all.filter(|(_, pattern)| matches(pattern, host));
    all.max_by_key(|(_, pattern)| {
        (
            !pattern.starts_with('*') && !pattern.is_empty(),
            pattern.len(),
        )
    })
    .map(|(at, _)| at)
}

fn manifests(listeners: &[&str], hostnames: &[&str], section: Option<usize>) -> String {
    let mut text = "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: g, namespace: ns}
spec:
  gatewayClassName: eg
  listeners:
"
    .to_owned();
    for (at, hostname) in listeners.iter().enumerate() {
        let hostname = match *hostname {
            "" => String::new(),
            hostname => format!(", hostname: '{hostname}'"),
        };
        writeln!(
            text,
            "  - {{name: l{at}, port: 80, protocol: HTTP{hostname}}}"
        )
        .unwrap();
    }
    let section = section.map_or(String::new(), |at| format!(", sectionName: l{at}"));
    let hostnames = match hostnames {
        [] => String::new(),
        names => format!("\n  hostnames: ['{}']", names.join("', '")),
    };
    write!(
        text,
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: r, namespace: ns}}
spec:
  parentRefs: [{{name: g{section}}}]{hostnames}
  rules:
  - filters: [{{type: RequestRedirect, requestRedirect: {{hostname: elsewhere.example}}}}]
"
    )
    .unwrap();
    text
}

/// The hosts whose requests the route serves.
async fn served(resolution: &Resolution) -> Vec<&'static str> {
    let gateway = Gateway::new(Options::default());
    gateway.apply(&resolution.plan).unwrap();
    let mut served = Vec::new();
    for host in HOSTS {
        let request = Request::get("/").header("host", host).body(Body::empty());
        let response = gateway.service(80).oneshot(request.unwrap()).await.unwrap();
        match response.status() {
            StatusCode::FOUND => served.push(host),
            status => assert_eq!(status, StatusCode::NOT_FOUND, "{host}"),
        }
    }
    served
}

/// The status of condition `Accepted` of the route.
fn is_accepted(resolution: &Resolution) -> bool {
    let mut objects = resolution.statuses.objects();
    let route = objects
        .find(|object| object["kind"] == "HTTPRoute")
        .unwrap();
    let conditions = route["status"]["parents"][0]["conditions"]
        .as_array()
        .unwrap();
    let accepted = conditions.iter().find(|one| one["type"] == "Accepted");
    accepted.unwrap()["status"] == "True"
}

/// The sum of `attachedRoutes` of the listeners.
fn attached(resolution: &Resolution) -> u64 {
    let mut objects = resolution.statuses.objects();
    let gateway = objects.find(|object| object["kind"] == "Gateway").unwrap();
    let listeners = gateway["status"]["listeners"].as_array().unwrap();
    let counts = listeners.iter().map(|listener| &listener["attachedRoutes"]);
    counts.map(|count| count.as_u64().unwrap()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_most_specific_listener_serves_its_routes(
        listeners in subsequence(LISTENERS.to_vec(), 1..5).prop_shuffle(),
        hostnames in subsequence(ROUTES.to_vec(), 0..4),
        section in proptest::option::of(select(vec![0, 1, 2, 3])),
    ) {
        let section = section.map(|at| at % listeners.len());
        let text = manifests(&listeners, &hostnames, section);
        let options = ResolveOptions { serve_unclassed: true, ..ResolveOptions::default() };
        let resolution = resolve(&decode("in.yaml", &text).objects, &options);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let expected = |host: &&str| {
            let own = hostnames.is_empty() || hostnames.iter().any(|name| matches(name, host));
            let listener = listener_of(&listeners, host);
            own && listener.is_some_and(|at| section.is_none_or(|section| section == at))
        };
        let expected: Vec<_> = HOSTS.into_iter().filter(|host| expected(host)).collect();

        let found = runtime.block_on(served(&resolution));

        prop_assert_eq!(&found, &expected, "{}", &text);
        let accepted = is_accepted(&resolution);
        prop_assert_eq!(accepted, !found.is_empty(), "{}", &text);
        prop_assert_eq!(attached(&resolution) > 0, accepted, "{}", &text);
        let reported = resolution.diagnostics.iter().any(|one| {
            one.code.as_str() == "no-common-hostname"
        });
        prop_assert_eq!(reported, !accepted, "{}", &text);
        let shadowed = resolution.diagnostics.iter().any(|one| {
            one.code.as_str() == "hostname-of-another-listener"
        });
        // Whether the route serves no host of the hostname.
        let is_empty = |hostname: &&str| {
            let own = |host: &&str| matches(hostname, host);
            !HOSTS.iter().filter(|host| own(host)).any(|host| found.contains(host))
        };
        let has_empty = hostnames.iter().any(is_empty);
        prop_assert!(!shadowed || has_empty, "{}", &text);
    }
}
