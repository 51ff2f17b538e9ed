//! Tests of client IP detection: comparisons with results that were recorded from Envoy, then invariants.

use std::collections::HashSet;
use std::convert::Infallible;
use std::future::ready;

use http::{Request, StatusCode, header};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tower::{ServiceExt, service_fn};

use bytes::Bytes;
use http::Response;

use super::*;

/// Address of the peer in Envoy's recorded results.
const PEER: &str = "127.9.8.7";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn hops(hops: u32) -> ClientIpRule {
    ClientIpRule::TrustedHops { hops, append: true }
}

fn networks(networks: &[&str]) -> ClientIpRule {
    ClientIpRule::TrustedNetworks {
        networks: networks.iter().map(|net| net.parse().unwrap()).collect(),
        append: true,
    }
}

fn trusted() -> ClientIpRule {
    networks(&["127.9.0.0/16", "10.0.0.0/8", "2001:db8::/32"])
}

fn header(fail_closed: bool) -> ClientIpRule {
    ClientIpRule::Header {
        name: "X-Real-IP".parse().unwrap(),
        fail_closed,
    }
}

#[test]
fn a_trusted_header_counts_only_from_a_trusted_peer() {
    let rule = ClientIpRule::TrustedHeader {
        name: "X-Real-IP".parse().unwrap(),
        networks: vec!["10.0.0.0/8".parse().unwrap()],
    };
    let headers = lines("x-real-ip", &["203.0.113.1"]);
    for (peer, client) in [("10.0.0.9", "203.0.113.1"), ("11.0.0.9", "11.0.0.9")] {
        let found = find(peer.parse().unwrap(), &headers, &rule).unwrap();

        assert_eq!(found.ip.to_string(), client);
        assert_eq!(found.named, peer != client);
    }
    let invalid = lines("x-real-ip", &["x"]);

    let found = find("10.0.0.9".parse().unwrap(), &invalid, &rule).unwrap();

    assert_eq!(found.ip.to_string(), "10.0.0.9");
}

fn lines<T: AsRef<[u8]>>(name: &'static str, lines: &[T]) -> HeaderMap {
    lines
        .iter()
        .map(|line| {
            let value = HeaderValue::from_bytes(line.as_ref()).unwrap();
            (HeaderName::from_static(name), value)
        })
        .collect()
}

fn xff<T: AsRef<[u8]>>(values: &[T]) -> HeaderMap {
    lines("x-forwarded-for", values)
}

fn numbered(prefix: &str, count: usize) -> String {
    let all: Vec<String> = (1..=count).map(|n| format!("{prefix}{n}")).collect();
    all.join(", ")
}

/// The detected address, or `peer` if no header field supplied it.
fn answer(headers: &HeaderMap, rule: &ClientIpRule) -> String {
    let found = find(ip(PEER), headers, rule).unwrap();
    if found.named {
        found.ip.to_string()
    } else {
        assert_eq!(found.ip, ip(PEER));
        "peer".into()
    }
}

#[test]
fn hops_count_from_the_right_as_in_envoy() {
    let three = "203.0.113.128, 203.0.113.10, 203.0.113.1";
    let split: &[&str] = &["203.0.113.128, 203.0.113.10", "203.0.113.1"];
    let apart: &[&str] = &["203.0.113.128", "203.0.113.10", "203.0.113.1"];
    let cases: &[(u32, &[&str], &str)] = &[
        (0, &[three], "203.0.113.1"),
        (1, &[three], "203.0.113.1"),
        (2, &[three], "203.0.113.10"),
        (3, &[three], "203.0.113.128"),
        (4, &[three], "peer"),
        (u32::MAX, &[three], "peer"),
        (1, split, "203.0.113.1"),
        (2, split, "203.0.113.10"),
        (3, split, "203.0.113.128"),
        (1, apart, "203.0.113.1"),
        (3, apart, "203.0.113.128"),
        (1, &[], "peer"),
        (3, &[], "peer"),
        (2, &["203.0.113.1"], "peer"),
        (1, &["203.0.113.10, 203.0.113.1,"], "peer"),
        (2, &["203.0.113.10, 203.0.113.1,"], "203.0.113.1"),
        (2, &[", 203.0.113.1"], "peer"),
        (2, &["garbage, 203.0.113.1"], "peer"),
        (1, &["garbage, 203.0.113.1"], "203.0.113.1"),
        (2, &["203.0.113.10 203.0.113.1"], "peer"),
    ];

    for (n, values, expected) in cases {
        assert_eq!(&answer(&xff(values), &hops(*n)), expected, "{n} {values:?}");
    }
}

#[test]
fn hops_reach_as_far_as_there_are_entries() {
    let entries = numbered("203.0.113.", 25);
    let apart: Vec<&str> = entries.split(", ").collect();

    for headers in [xff(&[&entries]), xff(&apart)] {
        assert_eq!(answer(&headers, &hops(1)), "203.0.113.25");
        assert_eq!(answer(&headers, &hops(2)), "203.0.113.24");
        assert_eq!(answer(&headers, &hops(25)), "203.0.113.1");
        assert_eq!(answer(&headers, &hops(26)), "peer");
    }
}

/// In each case, `X-Forwarded-For` has this single entry, and one hop is trusted.
#[test]
fn an_entry_is_a_bare_address_or_nothing() {
    let long = "1".repeat(256);
    let cases: &[(&[u8], &str)] = &[
        (b"203.0.113.1", "203.0.113.1"),
        (b"2001:db8::1", "2001:db8::1"),
        (b"2001:DB8:0:0::1", "2001:db8::1"),
        (b"  203.0.113.1\t", "203.0.113.1"),
        (b"::1", "::1"),
        (b"::", "peer"),
        (b"0.0.0.0", "peer"),
        (b"224.0.0.1", "peer"),
        (b"255.255.255.255", "peer"),
        (b"ff02::1", "peer"),
        (b"::ffff:0.0.0.0", "peer"),
        (b"::ffff:224.0.0.1", "peer"),
        (b"::ffff:203.0.113.1", "::ffff:203.0.113.1"),
        (b"::ffff:0102:0304", "::ffff:1.2.3.4"),
        (b"64:ff9b::102:304", "64:ff9b::102:304"),
        (b"2002:102:304::", "2002:102:304::"),
        (b"", "peer"),
        (b",,,", "peer"),
        (b"unknown", "peer"),
        (b"_hidden", "peer"),
        (b"_SEVKISEK", "peer"),
        (b"localhost", "peer"),
        (b"203.0.113.1:8080", "peer"),
        (b"1.2.3.4:nope", "peer"),
        (b"1.2.3.4:99999", "peer"),
        (b"[203.0.113.1]", "peer"),
        (b"[2001:db8::1]", "peer"),
        (b"[2001:db8::1]:443", "peer"),
        (b"\"203.0.113.1\"", "peer"),
        (b"\"[::1]:80\"", "peer"),
        (b"for=203.0.113.1", "peer"),
        (b"203.0.113.10;203.0.113.1", "peer"),
        (b"203.0.113.1/32", "peer"),
        (b"203.000.113.001", "peer"),
        (b"01.2.3.4", "peer"),
        (b"203.0.113.256", "peer"),
        (b"0xcb.0.0x71.1", "peer"),
        (b"1.2.3", "peer"),
        (b"16909060", "peer"),
        (b"fe80::1%eth0", "peer"),
        (b"fe80::1%25eth0", "peer"),
        (b"203.0.113.1, \xe9", "peer"),
        ("203.0.113.1, \u{661}".as_bytes(), "peer"),
        (long.as_bytes(), "peer"),
    ];

    for (value, expected) in cases {
        let text = String::from_utf8_lossy(value);
        assert_eq!(&answer(&xff(&[value]), &hops(1)), expected, "{text}");
    }
}

#[test]
fn networks_are_walked_as_in_envoy() {
    let cases: &[(&[&str], &str)] = &[
        (&["203.0.113.5, 10.0.0.1, 10.0.0.2"], "203.0.113.5"),
        (&["203.0.113.5", "10.0.0.1", "10.0.0.2"], "203.0.113.5"),
        (&["6.6.6.6, 203.0.113.5, 10.0.0.1"], "203.0.113.5"),
        (&["203.0.113.5, garbage, 10.0.0.1"], "peer"),
        (&["garbage, 10.0.0.1"], "peer"),
        (&["garbage, 203.0.113.5, 10.0.0.1"], "203.0.113.5"),
        (&["203.0.113.5, 10.0.0.1,"], "peer"),
        (&["203.0.113.5", "", "10.0.0.1", " \t"], "203.0.113.5"),
        (&["203.0.113.5,,10.0.0.1"], "peer"),
        (&["203.0.113.5, 10.0.0.1:99"], "peer"),
        (&["2001:db8::5, 10.0.0.1"], "2001:db8::5"),
        (&["2001:db9::5, 2001:db8::1"], "2001:db9::5"),
        (&["10.0.0.7, garbage"], "peer"),
        (&["203.0.113.5, ::ffff:10.0.0.1"], "::ffff:10.0.0.1"),
        (
            &["9.255.255.255, 10.0.0.0, 10.255.255.255"],
            "9.255.255.255",
        ),
        (&["203.0.113.5, 11.0.0.0"], "11.0.0.0"),
        (&[""], "peer"),
        (&[], "peer"),
    ];

    for (values, expected) in cases {
        assert_eq!(&answer(&xff(values), &trusted()), expected, "{values:?}");
    }
}

#[test]
fn at_most_twenty_entries_are_walked() {
    for (proxies, with_client, alone) in [
        (18, "203.0.113.5", "10.0.0.1"),
        (19, "203.0.113.5", "10.0.0.1"),
        (20, "peer", "10.0.0.1"),
        (21, "peer", "peer"),
        (10_000, "peer", "peer"),
    ] {
        let chain = if proxies < 100 {
            numbered("10.0.0.", proxies)
        } else {
            vec!["10.0.0.1"; proxies].join(",")
        };

        let client = xff(&[format!("203.0.113.5, {chain}")]);
        assert_eq!(answer(&client, &trusted()), with_client, "{proxies}");
        assert_eq!(answer(&xff(&[chain]), &trusted()), alone, "{proxies}");
    }
}

#[test]
fn other_networks_do_as_their_notation_says() {
    let headers = xff(&["192.168.2.1,172.16.1.17,10.0.1.12"]);
    let all = networks(&["172.0.0.0/8", "10.0.0.0/8", "127.0.0.0/8", "::/0"]);
    assert_eq!(answer(&headers, &all), "192.168.2.1");

    let everything = networks(&["0.0.0.0/0"]);
    assert_eq!(answer(&headers, &everything), "192.168.2.1");

    let mapped = networks(&["127.0.0.0/8", "::ffff:4.4.4.0/120"]);
    let in_mapped = xff(&["203.0.113.5, ::ffff:4.4.4.4"]);
    assert_eq!(answer(&in_mapped, &mapped), "203.0.113.5");
    let plain = xff(&["203.0.113.5, 4.4.4.4"]);
    assert_eq!(answer(&plain, &mapped), "4.4.4.4");
}

#[test]
fn a_header_is_believed_in_its_first_line() {
    let cases: &[(&[&str], &str)] = &[
        (&["203.0.113.1"], "203.0.113.1"),
        (&["2001:db8::1"], "2001:db8::1"),
        (&["127.0.0.1"], "127.0.0.1"),
        (&["", "203.0.113.1"], "203.0.113.1"),
        (&["224.0.0.1"], "refused"),
        (&["0.0.0.0", "203.0.113.1"], "refused"),
        (
            &["203.0.113.128", "203.0.113.10", "203.0.113.1"],
            "203.0.113.128",
        ),
        (&[], "refused"),
        (&[""], "refused"),
        (&["203.0.113.128, 203.0.113.10, 203.0.113.1"], "refused"),
        (&["[2001:db8::1]"], "refused"),
        (&["fe80::1%lo"], "refused"),
        (&["unknown"], "refused"),
        (&["\"203.0.113.1\""], "refused"),
        (&["203.000.113.001"], "refused"),
        (
            &["203.0.113.128 ,\t203.0.113.10\t,  203.0.113.1"],
            "refused",
        ),
    ];

    for (values, expected) in cases {
        let mut headers = lines("x-real-ip", values);
        headers.insert(X_FORWARDED_FOR, "198.51.100.1".parse().unwrap());
        headers.insert(header::FORWARDED, "for=198.51.100.1".parse().unwrap());

        let closed = find(ip(PEER), &headers, &header(true));
        if *expected == "refused" {
            let rejection = closed.unwrap_err();
            assert_eq!(rejection.status, StatusCode::FORBIDDEN);
            assert_eq!(rejection.body, "");
            assert_eq!(rejection.details, "rejecting_because_detection_failed");
            assert_eq!(answer(&headers, &header(false)), "peer", "{values:?}");
        } else {
            assert_eq!(closed.unwrap().ip, ip(expected), "{values:?}");
            assert_eq!(&answer(&headers, &header(false)), expected, "{values:?}");
        }
    }
}

#[test]
fn no_other_field_is_a_way_around_the_rule() {
    let mut headers = lines("x-real-ip", &["6.6.6.6"]);
    headers.insert(header::FORWARDED, "for=6.6.6.6".parse().unwrap());
    headers.insert("x-client-ip", "6.6.6.6".parse().unwrap());
    headers.insert("true-client-ip", "6.6.6.6".parse().unwrap());
    headers.insert("x_forwarded_for", "6.6.6.6".parse().unwrap());

    for rule in [ClientIpRule::Peer, hops(1), hops(2), trusted()] {
        assert_eq!(answer(&headers, &rule), "peer");
    }
}

/// Trusted, untrusted and invalid entries of both address families.
fn any_entry() -> impl Strategy<Value = String> {
    let known = select(vec![
        "10.0.0.1",
        "10.0.0.2",
        "127.9.0.1",
        "2001:db8::5",
        "203.0.113.5",
        "198.51.100.7",
        "2001:db9::1",
        "::ffff:10.0.0.1",
    ]);
    prop_oneof![
        6 => known.prop_map(String::from),
        1 => "[0-9a-f:. ]{0,12}",
        1 => any::<[u8; 4]>().prop_map(|octets| IpAddr::from(octets).to_string()),
        1 => any::<[u16; 8]>().prop_map(|words| IpAddr::from(words).to_string()),
    ]
}

fn any_list(max: usize) -> impl Strategy<Value = Vec<String>> {
    vec(any_entry(), 0..max)
}

fn any_rule() -> impl Strategy<Value = ClientIpRule> {
    prop_oneof![
        Just(ClientIpRule::Peer),
        (0..30_u32).prop_map(hops),
        Just(trusted()),
        Just(networks(&["0.0.0.0/0", "::/0"])),
    ]
}

/// Reference implementation, which evaluates the whole list.
fn model(peer: IpAddr, list: &[String], rule: &ClientIpRule) -> IpAddr {
    let parsed = |entry: &String| {
        let ip = entry.trim().parse::<IpAddr>().ok()?;
        let plain = ip.to_canonical();
        let others = ["0.0.0.0", "::", "255.255.255.255"];
        let is_other = plain.is_multicast() || others.contains(&&*plain.to_string());
        (!is_other).then_some(ip)
    };
    let found = match rule {
        ClientIpRule::Peer | ClientIpRule::Header { .. } | ClientIpRule::TrustedHeader { .. } => {
            None
        }
        ClientIpRule::TrustedHops { hops, .. } => {
            let hops = (*hops).max(1) as usize;
            list.len().checked_sub(hops).and_then(|i| parsed(&list[i]))
        }
        ClientIpRule::TrustedNetworks { networks, .. } => {
            let trusted = |ip: &IpAddr| networks.iter().any(|net| net.contains(ip));
            let last = list
                .iter()
                .rposition(|e| !parsed(e).is_some_and(|ip| trusted(&ip)));
            let seen = list.len() - last.unwrap_or(0);
            let at = last.unwrap_or(0);
            if trusted(&peer) && seen <= WALKED {
                list.get(at).and_then(parsed)
            } else {
                None
            }
        }
    };
    found.unwrap_or(peer)
}

proptest! {
    #[test]
    fn the_walk_agrees_with_a_plain_reading(
        list in any_list(30),
        rule in any_rule(),
        peer in select(vec!["127.9.8.7", "192.0.2.1"]),
    ) {
        let headers = if list.is_empty() { HeaderMap::new() } else { xff(&[list.join(",")]) };

        let found = find(ip(peer), &headers, &rule).unwrap();

        prop_assert_eq!(found.ip, model(ip(peer), &list, &rule));
    }

    /// Text to the left of the entries that trusted proxies append has no effect.
    #[test]
    fn attacker_text_on_the_left_changes_nothing(
        forged in vec("[ -~]{0,40}", 0..6),
        same_line in any::<bool>(),
        client in select(vec!["203.0.113.5", "2001:db9::1"]),
        proxies in vec(select(vec!["10.0.0.1", "2001:db8::7"]), 0..19),
    ) {
        let mut appended = vec![client];
        appended.extend(&proxies);
        let honest = xff(&[appended.join(", ")]);
        let mut values = forged;
        match values.last_mut() {
            Some(last) if same_line => *last = format!("{last},{}", appended.join(", ")),
            _ => values.push(appended.join(", ")),
        }
        let attacked = xff(&values);

        for rule in [ClientIpRule::Peer, hops(appended.len() as u32), trusted()] {
            let expected = find(ip(PEER), &honest, &rule).unwrap();
            prop_assert_eq!(find(ip(PEER), &attacked, &rule).unwrap(), expected);
        }
    }

    #[test]
    fn splitting_the_list_over_lines_changes_nothing(
        mut list in any_list(30),
        cuts in vec(any::<bool>(), 30),
        rule in any_rule(),
    ) {
        // An empty line would be removed, because it contains no entry.
        list.retain(|entry| !entry.trim().is_empty());
        prop_assume!(!list.is_empty());
        let mut values = vec![list[0].clone()];
        for (entry, cut) in list[1..].iter().zip(cuts) {
            match values.last_mut() {
                Some(line) if !cut => *line = format!("{line},{entry}"),
                _ => values.push(entry.clone()),
            }
        }

        let split = find(ip(PEER), &xff(&values), &rule).unwrap();

        prop_assert_eq!(split, find(ip(PEER), &xff(&[list.join(",")]), &rule).unwrap());
    }

    #[test]
    fn an_untrusted_peer_is_the_client(value in "[ -~]{0,60}") {
        let peer = ip("192.0.2.1");

        let found = find(peer, &xff(&[value]), &trusted()).unwrap();

        prop_assert_eq!(found, DetectedClientIp { ip: peer, named: false });
    }

    #[test]
    fn the_client_is_the_peer_or_an_entry(list in any_list(30), rule in any_rule()) {
        let found = find(ip(PEER), &xff(&[list.join(",")]), &rule).unwrap();

        let entry = list.iter().any(|e| e.trim().parse() == Ok(found.ip));
        prop_assert!(found.ip == ip(PEER) || entry);
    }

    /// With a larger set of trusted networks, the detected client is the same entry or one further to the
    /// left. The client is the peer if an entry is invalid or more than 20 entries are trusted.
    #[test]
    fn more_trust_never_moves_the_client_to_the_right(mut list in any_list(30)) {
        let mut seen = HashSet::new();
        list.retain(|entry| seen.insert(entry.trim().parse::<IpAddr>().ok()));
        let headers = xff(&[list.join(",")]);
        let less = find(ip(PEER), &headers, &networks(&["127.9.0.0/16", "10.0.0.0/8"])).unwrap();
        let more = find(ip(PEER), &headers, &trusted()).unwrap();

        let place = |found: DetectedClientIp| list.iter().rposition(|e| e.trim().parse() == Ok(found.ip));
        prop_assert!(!more.named || !less.named || place(more) <= place(less));
    }
}

async fn seen_by_service(layer: ClientIpLayer, req: Request<()>) -> (StatusCode, Option<ClientIp>) {
    let seen = Arc::new(std::sync::Mutex::new(None));
    let inner = seen.clone();
    let service = layer.layer(service_fn(move |req: Request<()>| {
        *inner.lock().unwrap() = req.extensions().get::<ClientIp>().copied();
        ready(Ok::<_, Infallible>(Response::new(Bytes::new())))
    }));
    let response = service.oneshot(req).await.unwrap();
    let client = *seen.lock().unwrap();
    (response.status(), client)
}

#[tokio::test]
async fn the_layer_inserts_what_it_found() {
    let mut req = Request::new(());
    *req.headers_mut() = xff(&["6.6.6.6, 203.0.113.1"]);
    req.extensions_mut()
        .insert::<SocketAddr>("[::ffff:10.0.0.9]:1".parse().unwrap());

    let (status, client) = seen_by_service(ClientIpLayer::new(hops(1)), req.clone()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(client, Some(ClientIp(ip("203.0.113.1"))));

    let (_, client) = seen_by_service(ClientIpLayer::new(ClientIpRule::Peer), req).await;
    assert_eq!(client, Some(ClientIp(ip("10.0.0.9"))));
}

#[tokio::test]
async fn the_layer_refuses_where_the_rule_does() {
    let mut req = Request::new(());
    req.extensions_mut().insert(ConnectionAddrs::of_tcp(
        "10.0.0.9:1".parse().unwrap(),
        "10.0.0.1:80".parse().unwrap(),
    ));

    let (status, client) = seen_by_service(ClientIpLayer::new(header(true)), req).await;

    assert_eq!((status, client), (StatusCode::FORBIDDEN, None));
}

#[tokio::test]
async fn the_layer_makes_no_client_up() {
    let mut req = Request::new(());
    req.extensions_mut().insert(ClientIp(ip("6.6.6.6")));

    let (_, client) = seen_by_service(ClientIpLayer::new(ClientIpRule::Peer), req).await;

    assert_eq!(client, None);
}

#[test]
fn a_mapped_client_can_be_compared_as_what_it_is() {
    let mapped = ClientIp(ip("::ffff:203.0.113.1"));

    assert_eq!(mapped.canonical(), ip("203.0.113.1"));
}
