//! Benchmark cases: small steps of every connection or request, whole requests and connections, and building
//! plans. The benchmark `time` measures their time, `count` their number of instructions.

mod wire;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderMap, Method, Request, request};
use towergate_core::conn::ConnInfo;
use towergate_core::conn::ConnectionAddrs;
use towergate_core::http::client_ip::{self, ClientIpRule};
use towergate_core::http::{forwarded, sanitize};
use towergate_core::plan::{
    BackendId, Listener, ListenerSettings, Match, PathMatch, Plan, Port, Route, Rule,
};
use towergate_core::proxy_protocol::{self, Addresses, DEFAULT_LIMIT, Tlv, Transport};
use towergate_core::route::{Query, RouteTable};
use towergate_core::{Gateway, gateway::Options};

/// Number of rules per route, which is also the number of paths per host.
const PATHS: usize = 10;

/// A measured step, which can be run repeatedly.
pub(crate) type Step = Box<dyn FnMut()>;

/// Creates a step and the state that it needs.
pub(crate) type Prepare = fn() -> Step;

/// All cases by name. The last cases are too large for instruction counts.
pub(crate) const CASES: [(&str, Prepare); 18] = [
    ("proxy_v1", || {
        proxy(&b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n"[..])
    }),
    ("proxy_v2", || proxy(&proxy_v2(&[]))),
    ("proxy_v2_tlvs", || proxy(&proxy_v2(&tlvs()))),
    ("client_ip_hops", || {
        client_ip(ClientIpRule::TrustedHops {
            hops: 2,
            append: true,
        })
    }),
    ("client_ip_networks", client_ip_networks),
    ("forwarded_edge", || forwarded(ClientIpRule::Peer)),
    ("forwarded_hops", || {
        forwarded(ClientIpRule::TrustedHops {
            hops: 2,
            append: true,
        })
    }),
    ("sanitize", sanitize),
    ("route_1", || find(1)),
    ("route_100", || find(100)),
    ("route_10000", || find(10_000)),
    ("request", wire::request),
    ("connection", wire::connection),
    ("plan_build_1000", || build(1000)),
    ("plan_rebuild_1000", || rebuild(1000)),
    ("route_100000", || find(100_000)),
    ("plan_build_10000", || build(10_000)),
    ("plan_rebuild_10000", || rebuild(10_000)),
];

/// Number of cases that `count` measures. They are the first cases of [`CASES`].
#[allow(dead_code, reason = "only the benchmark `count` uses it")]
pub(crate) const COUNTED: usize = 15;

fn proxy(header: &[u8]) -> Step {
    let bytes = [header, b"GET / HTTP/1.1\r\n"].concat();
    Box::new(move || {
        let decoded = proxy_protocol::decode(black_box(&bytes), DEFAULT_LIMIT);
        black_box(decoded.expect("a valid header").len);
    })
}

fn proxy_v2(tlvs: &[Tlv<'_>]) -> Vec<u8> {
    let addresses = Addresses {
        source: ([203, 0, 113, 7], 56324).into(),
        destination: ([192, 0, 2, 1], 443).into(),
    };
    let mut bytes = Vec::new();
    proxy_protocol::encode_v2(Some((Transport::Stream, addresses)), tlvs, true, &mut bytes)
        .expect("a short header");
    bytes
}

fn tlvs() -> [Tlv<'static>; 2] {
    [Tlv::Authority(b"shop.example.com"), Tlv::Alpn(b"h2")]
}

fn client_ip_networks() -> Step {
    let networks = ["10.0.0.0/8", "192.168.0.0/16", "fd00::/8"];
    let networks = networks.map(|net| net.parse().expect("a valid network"));
    client_ip(ClientIpRule::TrustedNetworks {
        networks: networks.into(),
        append: true,
    })
}

fn client_ip(rule: ClientIpRule) -> Step {
    let peer = IpAddr::from([10, 1, 2, 3]);
    let mut headers = HeaderMap::new();
    let list = "198.51.100.1, 203.0.113.9, 10.0.0.7, 10.0.0.9";
    headers.insert(
        "x-forwarded-for",
        list.parse().expect("a valid header value"),
    );
    Box::new(move || {
        let found = client_ip::find(black_box(peer), &headers, &rule);
        black_box(found.expect("a client address").ip);
    })
}

/// The measurement includes copying the header fields that the step edits.
fn forwarded(rule: ClientIpRule) -> Step {
    let ends = ConnectionAddrs::of_tcp(([10, 1, 2, 3], 4000).into(), ([192, 0, 2, 1], 80).into());
    let conn = ConnInfo::new(ends, 0, 80, None);
    let settings = ListenerSettings {
        client_ip: rule,
        ..ListenerSettings::default()
    };
    let mut headers = browser().headers;
    let list = "198.51.100.1, 203.0.113.9";
    headers.insert(
        "x-forwarded-for",
        list.parse().expect("a valid header value"),
    );
    Box::new(move || {
        let mut headers = black_box(&headers).clone();
        let edited = forwarded::apply(&mut headers, &conn, &settings);
        let _ = black_box((edited.is_ok(), headers));
    })
}

/// A typical request head of a browser.
fn browser() -> request::Parts {
    let request = Request::get("/shop/./items%2f7?page=2")
        .header("host", "shop.example.com")
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)")
        .header("accept", "text/html,application/xhtml+xml")
        .header("accept-encoding", "gzip, deflate, br")
        .header("connection", "keep-alive")
        .header("cookie", "session=0123456789abcdef")
        .body(())
        .expect("a valid request");
    request.into_parts().0
}

/// The measurement includes copying the request head that the step sanitizes.
fn sanitize() -> Step {
    let head = browser();
    let settings = ListenerSettings::default();
    Box::new(move || {
        let mut head = black_box(&head).clone();
        let clean = sanitize::request(&mut head, &settings, false);
        let _ = black_box((clean.is_ok(), head));
    })
}

/// Matches a request against `routes` routes. Each run matches a different request.
fn find(routes: usize) -> Step {
    let matches: Vec<Match> = (0..routes).map(|at| matched(at % PATHS)).collect();
    let entries = matches.iter().enumerate();
    let host = |at: usize| format!("h{}.example.test", at / PATHS);
    let table = RouteTable::build(entries.map(|(at, entry)| {
        let name = host(at).parse().expect("a valid hostname");
        (name, entry, at)
    }));
    // Hosts and paths of 1000 requests are formatted in advance, so that formatting is not measured.
    let asked: Vec<_> = (0..1000_usize)
        .map(|n| (n * 7919) % routes)
        .map(|at| (host(at), format!("/p{}/item", at % PATHS), at))
        .collect();
    let headers = HeaderMap::new();
    let mut turn = 0;
    Box::new(move || {
        let (host, path, expected) = &asked[turn];
        turn = (turn + 1) % asked.len();
        let query = Query {
            host,
            path,
            compared: None,
            query: None,
            method: &Method::GET,
            headers: &headers,
        };
        let found = black_box(&table).find(&query, false);
        assert_eq!(found.map(|found| *found.payload), Some(*expected));
    })
}

/// Builds a snapshot from a plan of `rules` rules, without a previous snapshot.
fn build(rules: usize) -> Step {
    let plan = plan(rules, None);
    Box::new(move || {
        let gateway = Gateway::new(Options::default());
        gateway.apply(black_box(&plan)).expect("a valid plan");
    })
}

/// Rebuilds the snapshot from a plan of `rules` rules. In each run, one rule has changed.
fn rebuild(rules: usize) -> Step {
    let gateway = Gateway::new(Options::default());
    let mut before = plan(rules, None);
    gateway.apply(&before).expect("a valid plan");
    let mut next = [0, 1]
        .map(|turn| plan(rules, Some((rules / 2, turn))))
        .into_iter()
        .cycle();
    Box::new(move || {
        let mut now = next.next().expect("an endless iterator");
        now.share(&before);
        gateway.apply(black_box(&now)).expect("a valid plan");
        before = now;
    })
}

fn matched(path: usize) -> Match {
    Match {
        path: PathMatch::Prefix(format!("/p{path}")),
        ..Match::default()
    }
}

/// A plan with ten paths per host. All rules have the same backend. `changed`: index and variant of the rule
/// whose path differs.
fn plan(rules: usize, changed: Option<(usize, usize)>) -> Plan {
    let backend = BackendId::service("shop", "web", 80);
    let traffic = Arc::default();
    let routes = (0..rules / PATHS).map(|host| {
        let rules = (0..PATHS).map(|path| {
            let at = host * PATHS + path;
            let path = match changed {
                Some((rule, turn)) if rule == at => PATHS + turn,
                _ => path,
            };
            let mut rule = Rule::new(matched(path).path).to(&backend);
            rule.traffic = Arc::clone(&traffic);
            rule
        });
        let mut route = Route::new("shop", &format!("r{host}"), rules.collect());
        let name = format!("h{host}.example.test");
        route.hostnames = vec![name.parse().expect("a valid hostname")];
        route
    });
    let listener = Listener::http("shop", "edge", 80, routes.collect());
    let mut port = Port::new(80, vec![listener]);
    port.addresses = vec![Ipv4Addr::LOCALHOST.into()];
    Plan {
        ports: vec![port],
        ..Plan::default()
    }
}
