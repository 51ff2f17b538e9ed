//! Tests that compare the forwarded fields with results that were recorded from Envoy.

use std::net::SocketAddr;

use http::StatusCode;

use super::*;
use crate::conn::{ConnectionAddrs, Negotiated};
use crate::http::settings::HeaderSettings;

const MACHINE: &str = "192.0.2.80:8080";

fn conn(peer: &str) -> ConnInfo {
    let addrs = ConnectionAddrs {
        tcp_peer: "10.9.9.9:4000".parse().unwrap(),
        peer: format!("{peer}:56324").parse().unwrap(),
        local: MACHINE.parse().unwrap(),
    };
    ConnInfo::new(addrs, 0, 8080, None)
}

fn with(client_ip: ClientIpRule) -> ListenerSettings {
    ListenerSettings {
        client_ip,
        ..ListenerSettings::default()
    }
}

fn hops(append: bool) -> ListenerSettings {
    with(ClientIpRule::TrustedHops { hops: 1, append })
}

fn header() -> ListenerSettings {
    with(ClientIpRule::Header {
        name: "x-real-ip".parse().unwrap(),
        fail_closed: false,
    })
}

fn edge() -> ListenerSettings {
    with(ClientIpRule::Peer)
}

fn ids(mode: RequestIdMode, client_ip: ClientIpRule) -> ListenerSettings {
    ListenerSettings {
        headers: HeaderSettings {
            request_id: mode,
            ..HeaderSettings::default()
        },
        ..with(client_ip)
    }
}

fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect()
}

fn applied(
    peer: &str,
    settings: &ListenerSettings,
    sent: &[(&'static str, &'static str)],
) -> HeaderMap {
    let mut headers = fields(sent);
    apply(&mut headers, &conn(peer), settings).unwrap();
    headers
}

/// All lines of a field, joined by ` | `.
fn seen(headers: &HeaderMap, name: &str) -> String {
    let lines: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|line| String::from_utf8_lossy(line.as_bytes()))
        .collect();
    lines.join(" | ")
}

#[test]
fn the_edge_overwrites_what_a_client_says_of_itself() {
    let sent = [
        ("x-forwarded-for", "203.0.113.1"),
        ("x-forwarded-proto", "https"),
        ("x-envoy-external-address", "6.6.6.6"),
        ("x-envoy-internal", "true"),
        ("x-request-id", "my-own-id"),
        ("x-forwarded-client-cert", "By=spiffe://a;Hash=00"),
    ];

    let headers = applied("127.9.8.7", &edge(), &sent);

    assert_eq!(seen(&headers, "x-forwarded-for"), "203.0.113.1,127.9.8.7");
    assert_eq!(seen(&headers, "x-forwarded-proto"), "http");
    assert_eq!(seen(&headers, "x-envoy-external-address"), "127.9.8.7");
    assert!(is_uuid_v4(&seen(&headers, "x-request-id")));
    assert_eq!(headers.len(), 4);
}

#[test]
fn a_request_without_any_of_them_gets_them() {
    let at_the_edge = applied("[2001:db8::7]", &edge(), &[]);
    assert_eq!(seen(&at_the_edge, "x-forwarded-for"), "2001:db8::7");
    assert_eq!(
        seen(&at_the_edge, "x-envoy-external-address"),
        "2001:db8::7"
    );
    assert_eq!(at_the_edge.len(), 4);

    let behind = applied("203.0.113.7", &hops(true), &[]);
    assert_eq!(seen(&behind, "x-forwarded-for"), "203.0.113.7");
    assert_eq!(seen(&behind, "x-forwarded-proto"), "http");
    assert_eq!(behind.len(), 3);

    let by_header = applied("203.0.113.7", &header(), &[]);
    assert_eq!(seen(&by_header, "x-forwarded-proto"), "http");
    assert_eq!(by_header.len(), 2);
}

#[test]
fn the_peer_is_appended_as_in_envoy() {
    let cases: &[(ListenerSettings, &str, &[&'static str], &str)] = &[
        (hops(true), "127.9.8.7", &["garbage"], "garbage,127.9.8.7"),
        (hops(true), "127.9.8.7", &["a, b", "c"], "a, b,c,127.9.8.7"),
        (hops(true), "127.9.8.7", &["a", "b", "c"], "a,b,c,127.9.8.7"),
        (hops(true), "127.9.8.7", &["a, b,"], "a, b,,127.9.8.7"),
        (hops(true), "127.9.8.7", &[", a"], ", a,127.9.8.7"),
        (hops(true), "127.9.8.7", &[""], "127.9.8.7"),
        (hops(true), "127.9.8.7", &["", "a", ""], "a,127.9.8.7"),
        (hops(false), "127.9.8.7", &["", "a"], "a"),
        (edge(), "127.9.8.7", &["a, b,"], "a, b,,127.9.8.7"),
        (edge(), "127.0.0.1", &[], "192.0.2.80"),
        (hops(true), "127.0.0.1", &["a"], "a,192.0.2.80"),
        (hops(false), "127.0.0.1", &[], ""),
        (hops(false), "127.9.8.7", &["a, b"], "a, b"),
        (hops(false), "127.9.8.7", &["a, b,"], "a, b,"),
        (hops(false), "127.9.8.7", &["a", "b"], "a,b"),
        (hops(false), "127.9.8.7", &[""], ""),
        (header(), "127.9.8.7", &["198.51.100.1"], "198.51.100.1"),
        (header(), "127.9.8.7", &[], ""),
    ];

    for (settings, peer, lines, expected) in cases {
        let sent: Vec<_> = lines
            .iter()
            .map(|line| ("x-forwarded-for", *line))
            .collect();
        let headers = applied(peer, settings, &sent);
        assert_eq!(
            &seen(&headers, "x-forwarded-for"),
            expected,
            "{lines:?} {settings:?}"
        );
    }
}

#[test]
fn only_the_forwarded_for_hides_the_loopback() {
    let headers = applied("127.0.0.1", &edge(), &[]);

    assert_eq!(seen(&headers, "x-envoy-external-address"), "127.0.0.1");
}

#[test]
fn without_a_local_address_the_forwarded_for_names_the_loopback() {
    let conn = ConnInfo::from("127.0.0.1:40000".parse::<SocketAddr>().unwrap());
    let mut headers = HeaderMap::new();

    apply(&mut headers, &conn, &edge()).unwrap();

    assert_eq!(seen(&headers, "x-forwarded-for"), "127.0.0.1");
}

#[test]
fn obs_text_survives_the_append() {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_bytes(b"203.0.113.1, \xe9").unwrap();
    headers.insert(X_FORWARDED_FOR, value);

    apply(&mut headers, &conn("127.9.8.7"), &hops(true)).unwrap();

    assert_eq!(
        headers[X_FORWARDED_FOR].as_bytes(),
        b"203.0.113.1, \xe9,127.9.8.7"
    );
}

#[test]
fn the_scheme_is_believed_behind_a_proxy_only() {
    for value in ["https", "HTTPS", "ftp", "http, https"] {
        for settings in [hops(true), hops(false), header()] {
            let headers = applied("127.9.8.7", &settings, &[("x-forwarded-proto", value)]);
            assert_eq!(seen(&headers, "x-forwarded-proto"), value);
        }
        let headers = applied("127.9.8.7", &edge(), &[("x-forwarded-proto", value)]);
        assert_eq!(seen(&headers, "x-forwarded-proto"), "http");
    }
}

#[test]
fn tls_is_https() {
    let mut tls = conn("203.0.113.7");
    tls.tls = Some(Negotiated::default());

    for settings in [edge(), hops(true), header()] {
        let mut headers = HeaderMap::new();
        apply(&mut headers, &tls, &settings).unwrap();
        assert_eq!(seen(&headers, "x-forwarded-proto"), "https");
    }
}

#[test]
fn an_empty_scheme_finds_no_route_where_it_is_believed() {
    for settings in [hops(true), hops(false), header()] {
        let mut headers = fields(&[("x-forwarded-proto", "")]);
        let error = apply(&mut headers, &conn("127.9.8.7"), &settings).unwrap_err();
        let reply = error.reply();
        assert_eq!((reply.status, reply.flag), (StatusCode::NOT_FOUND, "NR"));
        assert_eq!(reply.details, "route_not_found");
    }

    let headers = applied("127.9.8.7", &edge(), &[("x-forwarded-proto", "")]);
    assert_eq!(seen(&headers, "x-forwarded-proto"), "http");
}

#[test]
fn a_forged_external_address_passes_only_if_the_listener_keeps_it() {
    let sent = [
        ("x-envoy-external-address", "6.6.6.6"),
        ("x-envoy-internal", "true"),
    ];
    for settings in [hops(true), header()] {
        let headers = applied("127.9.8.7", &settings, &sent);
        assert_eq!(seen(&headers, "x-envoy-external-address"), "");

        let keeps = ListenerSettings {
            keep_external_address: true,
            ..settings
        };
        let headers = applied("127.9.8.7", &keeps, &sent);
        assert_eq!(seen(&headers, "x-envoy-external-address"), "6.6.6.6");
        assert_eq!(seen(&headers, "x-envoy-internal"), "");
    }

    let keeps = ListenerSettings {
        keep_external_address: true,
        ..edge()
    };
    let headers = applied("127.9.8.7", &keeps, &sent);
    assert_eq!(seen(&headers, "x-envoy-external-address"), "127.9.8.7");
}

#[test]
fn envoys_fields_are_removed_as_envoy_does() {
    let mut sent: Vec<_> = ALWAYS_REMOVED.iter().map(|name| (*name, "a")).collect();
    sent.extend(REMOVED_AT_THE_EDGE.map(|name| (name, "a")));
    let others = [
        "x-envoy-anything-else",
        "x-envoy-attempt-count",
        "x-envoy-peer-metadata",
        "x-envoy-upstream-service-time",
        "x-envoy-overloaded",
        "x-client-trace-id",
        "x-b3-traceid",
        "traceparent",
    ];
    sent.extend(others.map(|name| (name, "a")));

    let at_the_edge = applied("127.9.8.7", &edge(), &sent);
    let behind = applied("127.9.8.7", &header(), &sent);

    for name in ALWAYS_REMOVED {
        assert!(
            !at_the_edge.contains_key(name) && !behind.contains_key(name),
            "{name}"
        );
    }
    for name in REMOVED_AT_THE_EDGE {
        assert!(
            !at_the_edge.contains_key(name) && behind.contains_key(name),
            "{name}"
        );
    }
    for name in others {
        assert!(
            at_the_edge.contains_key(name) && behind.contains_key(name),
            "{name}"
        );
    }
}

#[test]
fn the_clients_other_words_pass() {
    let sent = [
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-port", "99"),
        ("forwarded", "for=6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
    ];

    let headers = applied("127.9.8.7", &edge(), &sent);

    for (name, value) in sent {
        assert_eq!(seen(&headers, name), value);
    }
}

/// Request IDs in each mode, at the edge and behind a proxy. Each case lists the results for a request
/// without an ID, with one, with two, and with an empty one.
#[test]
fn request_ids_are_kept_or_made_by_mode() {
    use RequestIdMode::{Disable, Generate, Preserve, PreserveOrGenerate};
    let peer = || ClientIpRule::Peer;
    let behind = || hops(true).client_ip;
    let cases = [
        (Generate, peer(), ["new", "new", "new", "new"]),
        (Generate, behind(), ["new", "one", "one,two", "new"]),
        (PreserveOrGenerate, peer(), ["new", "one", "one,two", "new"]),
        (
            PreserveOrGenerate,
            behind(),
            ["new", "one", "one,two", "new"],
        ),
        (Preserve, peer(), ["", "one", "one,two", ""]),
        (Preserve, behind(), ["", "one", "one,two", ""]),
        (Disable, peer(), ["", "one", "one,two", ""]),
        (Disable, behind(), ["", "one", "one,two", ""]),
    ];
    let sent: [&[(&'static str, &'static str)]; 4] = [
        &[],
        &[("x-request-id", "one")],
        &[("x-request-id", "one"), ("x-request-id", "two")],
        &[("x-request-id", "")],
    ];

    for (mode, rule, expected) in cases {
        let settings = ids(mode, rule);
        for (sent, expected) in sent.iter().zip(expected) {
            let id = seen(&applied("127.9.8.7", &settings, sent), "x-request-id");
            let id = if is_uuid_v4(&id) { "new".into() } else { id };
            assert_eq!(id, expected, "{mode:?} {sent:?}");
        }
    }
}

#[test]
fn ids_are_uuids_of_version_4_and_differ() {
    assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
    assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    assert_eq!(
        uuid(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
        "01234567-89ab-4def-8123-456789abcdef"
    );
    assert_ne!(uuid(fastrand::u128(..)), uuid(fastrand::u128(..)));
}

fn is_uuid_v4(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12]
        && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
        && text.as_bytes()[14] == b'4'
        && b"89ab".contains(&text.as_bytes()[19])
}

#[test]
fn an_address_is_told_as_it_is_whatever_was_told_before() {
    let told = |conn: &ConnInfo, ip: &str| text(conn, ip.parse().unwrap());
    let before = conn("192.0.2.1");

    assert_eq!(told(&before, "192.0.2.1"), "192.0.2.1");
    for conn in [before.clone(), before] {
        assert_eq!(told(&conn, "192.0.2.2"), "192.0.2.2");
        assert_eq!(told(&conn, "192.0.2.1"), "192.0.2.1");
    }
}

proptest::proptest! {
    #[test]
    fn addresses_are_written_as_everybody_writes_them(ip: IpAddr) {
        let (mut buffer, expected) = ([0; IP_TEXT], ip.to_string());
        proptest::prop_assert_eq!(write_ip(ip, &mut buffer), expected.as_bytes());
    }
}

#[test]
fn a_request_id_is_a_random_uuid() {
    assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
    assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    let counted = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;
    assert_eq!(uuid(counted), "01234567-89ab-4def-8123-456789abcdef");
}
