//! Tests over in-memory pipes with the clock paused, and over real sockets.

use http::Request;
use proptest::prelude::*;
use proptest::sample::select;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer as _;

use super::*;
use crate::conn::ConnectionAddrsLayer;

const V1: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n";
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\xcb\0q\x07\xc0\0\x02\x01\xdc\x04\x01\xbb\x01\0\x02h2";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

const REQUIRED: ProxyProtocol = ProxyProtocol {
    optional: false,
    trusted: None,
};
const OPTIONAL: ProxyProtocol = ProxyProtocol {
    optional: true,
    trusted: None,
};

fn usual() -> Option<Addresses> {
    Some(Addresses {
        source: "203.0.113.7:56324".parse().unwrap(),
        destination: "192.0.2.1:443".parse().unwrap(),
    })
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn nets(nets: &[&str]) -> Vec<IpNet> {
    nets.iter().map(|net| net.parse().unwrap()).collect()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(15)
}

/// A pipe that yields `pieces` at intervals of one millisecond, then ends or stays open.
fn sending(pieces: Vec<Vec<u8>>, ends: bool) -> DuplexStream {
    let (mut client, server) = duplex(64 * 1024);
    tokio::spawn(async move {
        for piece in pieces {
            client.write_all(&piece).await.unwrap();
            sleep(Duration::from_millis(1)).await;
        }
        if !ends {
            sleep(Duration::from_secs(3600)).await;
        }
    });
    server
}

async fn reason(bytes: &[u8], mode: &ProxyProtocol, ends: bool) -> &'static str {
    let mut io = sending(vec![bytes.to_vec()], ends);
    read(&mut io, mode, soon()).await.unwrap_err().reason()
}

#[tokio::test(start_paused = true)]
async fn pp_03_a_header_is_removed_and_the_rest_is_kept() {
    for mode in [REQUIRED, OPTIONAL] {
        for (header, addresses) in [(V1, usual()), (V2, usual()), (LOCAL, None)] {
            let mut io = sending(vec![[header, REQUEST].concat()], false);

            let preamble = read(&mut io, &mode, soon()).await.unwrap();

            assert_eq!(preamble.addresses, addresses);
            assert_eq!(preamble.header, header);
            assert_eq!(preamble.rest, REQUEST);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_tlvs_of_a_header_are_available() {
    let mut io = sending(vec![V2.to_vec()], false);

    let preamble = read(&mut io, &REQUIRED, soon()).await.unwrap();

    let tlvs: Vec<_> = preamble.tlvs().into_iter().collect();
    assert_eq!(tlvs, [crate::proxy_protocol::Tlv::Alpn(b"h2")]);
}

#[tokio::test(start_paused = true)]
async fn pp_05_a_header_may_arrive_byte_by_byte() {
    for header in [V1, V2, LOCAL] {
        let bytes = [header, REQUEST].concat();
        let mut io = sending(bytes.iter().map(|byte| vec![*byte]).collect(), false);

        let preamble = read(&mut io, &OPTIONAL, soon()).await.unwrap();

        assert_eq!(preamble.header, header);
        assert!(REQUEST.starts_with(&preamble.rest));
    }
}

#[tokio::test(start_paused = true)]
async fn the_largest_header_is_read() {
    let header = |len: u16| {
        let mut header = LOCAL.to_vec();
        header[14..16].copy_from_slice(&len.to_be_bytes());
        header.resize(16 + usize::from(len), 0);
        header
    };
    let mut io = sending(vec![header(u16::MAX), REQUEST.to_vec()], false);
    let preamble = read(&mut io, &REQUIRED, soon()).await.unwrap();
    assert_eq!(preamble.header.len(), 16 + 65_535);
}

#[tokio::test(start_paused = true)]
async fn pp_05_a_close_within_the_header_is_an_error() {
    for mode in [REQUIRED, OPTIONAL] {
        for cut in [&b""[..], b"P", b"\r\n\r\n", &V1[..20], &V2[..20]] {
            assert_eq!(reason(cut, &mode, true).await, "closed");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pp_04_an_incomplete_header_times_out() {
    for mode in [REQUIRED, OPTIONAL] {
        for begun in [&b""[..], b"P", b"\r\n\r\n", &V1[..20], &V2[..20]] {
            let before = Instant::now();
            assert_eq!(reason(begun, &mode, false).await, "timeout");
            assert_eq!(before.elapsed().as_secs(), 15);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_header_is_accepted_only_in_optional_mode() {
    for bytes in [
        REQUEST,
        b"GET",
        b"\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"PROXYjunk",
        b"\x16\x03\x01",
    ] {
        assert_eq!(reason(bytes, &REQUIRED, false).await, "absent");

        let mut io = sending(vec![bytes.to_vec()], false);
        let preamble = read(&mut io, &OPTIONAL, soon()).await.unwrap();
        assert_eq!((preamble.addresses, preamble.header.len()), (None, 0));
        assert_eq!(preamble.rest, bytes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_malformed_header_is_an_error_in_both_modes() {
    for mode in [REQUIRED, OPTIONAL] {
        for (bytes, word) in [
            (&b"PROXY UDP4 203.0.113.7 192.0.2.1 1 2\r\n"[..], "protocol"),
            (b"PROXY TCP4 203.0.113.777 192.0.2.1 1 2\r\n", "address"),
            (b"PROXY TCP4 203.0.113.7 192.0.2.1 -1 443\r\n", "port"),
            (b"\r\n\r\n\0\r\nQUIT\n\x2f\x11\0\x0c", "command"),
            (b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c", "version"),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\0", "too_short"),
        ] {
            assert_eq!(reason(bytes, &mode, false).await, word);
        }
    }
}

proptest! {
    #[test]
    fn no_split_changes_what_is_read(
        header in select(vec![V1, V2, LOCAL, &b""[..]]),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let bytes = [header, REQUEST].concat();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let pieces = places.windows(2).map(|pair| bytes[pair[0]..pair[1]].to_vec()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();

        let all = runtime.block_on(async move {
            let mut io = sending(pieces, true);
            let preamble = read(&mut io, &OPTIONAL, soon()).await.unwrap();
            let mut rest = Vec::new();
            let header = preamble.header.clone();
            Prefixed::new(io, preamble.rest).read_to_end(&mut rest).await.unwrap();
            (header, rest)
        });

        prop_assert_eq!(all.0, header);
        prop_assert_eq!(all.1, REQUEST);
    }
}

#[test]
fn pp_02_only_configured_senders_are_trusted() {
    let acceptor = ProxyAcceptor::required(nets(&["10.0.0.0/8", "2001:db8::/32"]));

    assert!(acceptor.trusts("10.1.2.3".parse().unwrap()));
    assert!(acceptor.trusts("::ffff:10.1.2.3".parse().unwrap()));
    assert!(acceptor.trusts("2001:db8::1".parse().unwrap()));
    assert!(!acceptor.trusts("11.0.0.1".parse().unwrap()));
    assert!(!acceptor.trusts("2001:db9::1".parse().unwrap()));
    assert!(!ProxyAcceptor::optional(vec![]).trusts("10.1.2.3".parse().unwrap()));
    assert!(ProxyAcceptor::required_from_anyone().trusts("11.0.0.1".parse().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn pp_02_nothing_is_read_from_an_untrusted_sender() {
    let acceptor = ProxyAcceptor::optional(nets(&["10.0.0.0/8"]));
    let (mut client, server) = duplex(1);

    let refused = acceptor
        .accept(server, at("192.0.2.9:1"), at("192.0.2.1:80"))
        .await;

    assert_eq!(refused.unwrap_err().reason(), "untrusted");
    assert!(client.write_all(V1).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn pp_04_the_minimum_time_limit_is_three_seconds() {
    let acceptor = ProxyAcceptor::required_from_anyone().timeout(Duration::ZERO);
    let before = Instant::now();

    let io = sending(vec![], false);
    let closed = acceptor
        .accept(io, at("10.0.0.1:1"), at("10.0.0.2:80"))
        .await;

    assert_eq!(closed.unwrap_err().reason(), "timeout");
    assert_eq!(before.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn pp_24_the_source_becomes_the_peer_and_the_sender_is_kept_as_tcp_peer() {
    let acceptor = ProxyAcceptor::required(nets(&["10.0.0.0/8"]));
    let (sender, local) = (at("[::ffff:10.0.0.1]:4000"), at("10.0.0.2:80"));

    let io = sending(vec![V1.to_vec()], false);
    let (_, ends) = acceptor.accept(io, sender, local).await.unwrap();
    assert_eq!(ends.tcp_peer, at("10.0.0.1:4000"));
    assert_eq!(
        (ends.peer, ends.local),
        (at("203.0.113.7:56324"), at("192.0.2.1:443"))
    );

    let io = sending(vec![LOCAL.to_vec()], false);
    let (_, ends) = acceptor.accept(io, sender, local).await.unwrap();
    assert_eq!((ends.peer, ends.local), (at("10.0.0.1:4000"), local));
}

#[tokio::test]
async fn a_slow_sender_does_not_delay_others() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let acceptor = ProxyAcceptor::required(nets(&["127.0.0.0/8"]));
    let mut listener = ProxyListener::new(socket, acceptor);
    let address = listener.local_addr().unwrap();

    let mut silent = TcpStream::connect(address).await.unwrap();
    silent.write_all(b"PROXY TCP4 ").await.unwrap();
    let mut broken = TcpStream::connect(address).await.unwrap();
    broken.write_all(REQUEST).await.unwrap();
    let mut good = TcpStream::connect(address).await.unwrap();
    good.write_all(&[V2, REQUEST].concat()).await.unwrap();
    good.shutdown().await.unwrap();

    let accepted = timeout(Duration::from_secs(60), listener.accept()).await;
    let (mut stream, ends) = accepted.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();

    assert_eq!(rest, REQUEST);
    assert_eq!(Some(ends.peer), usual().map(|addresses| addresses.source));
    assert_eq!(ends.tcp_peer, good.local_addr().unwrap());
}

#[tokio::test]
async fn the_layer_inserts_the_addresses_into_every_request() {
    let ends = ConnectionAddrs::of_tcp(at("10.0.0.1:1"), at("10.0.0.2:80")).replaced_by(usual());
    let service = ConnectionAddrsLayer(ends).layer(service_fn(|req: Request<()>| {
        std::future::ready(Ok::<_, ()>(
            req.extensions().get::<ConnectionAddrs>().copied(),
        ))
    }));

    assert_eq!(service.oneshot(Request::new(())).await, Ok(Some(ends)));
}
