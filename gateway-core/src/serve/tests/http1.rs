//! HTTP/1: responses to valid and invalid requests.

use super::*;

#[tokio::test]
async fn a_connection_serves_requests_in_sequence() {
    let rig = Rig::plain(|_| {}).await;
    let mut client = rig.connect().await;

    for text in ["one", "two", ""] {
        let length = text.len();
        client
            .send(format!(
                "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{text}"
            ))
            .await;
        let (head, body) = client.response().await;

        assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
        assert!(!head.contains("connection:"), "{head}");
        assert_eq!(body, text);
    }
    assert_eq!(rig.events.count("ConnectionOpened"), 1);
    drop(client);
    rig.events.expect("ConnectionClosed").await;
}

#[tokio::test]
async fn pipelined_requests_get_responses_in_order() {
    let rig = Rig::plain(|_| {}).await;

    let all = rig
        .talk(
            "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n\
             GET /bad HTTP/1.1\r\nHost: a\r\n\r\n\
             GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        )
        .await;

    let bodies: Vec<_> = all.split("\r\n\r\n").skip(1).collect();
    assert_eq!(bodies.len(), 3, "{all}");
    assert!(bodies[0].starts_with("slow") && bodies[1].starts_with("mine"));
    assert_eq!(bodies[2], "ok");
}

/// Malformed requests with the responses that were recorded from Envoy.
pub(super) const MALFORMED: &[(&[u8], &str, &str, &str)] = &[
    (
        b"garbage\r\n\r\n",
        "400 Bad Request",
        "Bad Request",
        "http1.codec_error",
    ),
    (
        b"SSH-2.0-x\r\n",
        "400 Bad Request",
        "Bad Request",
        "http1.codec_error",
    ),
    (
        b" / HTTP/1.1\r\nHost: a\r\n\r\n",
        "400 Bad Request",
        "Bad Request",
        "http1.codec_error",
    ),
    (
        b"GET / http/1.1\r\nHost: a\r\n\r\n",
        "400 Bad Request",
        "Bad Request",
        "http1.codec_error",
    ),
    (
        b"GET / HTTP/1.1\r\nX A: 1\r\n\r\n",
        "400 Bad Request",
        "Bad Request",
        "http1.codec_error",
    ),
    (
        b"GET / HTTP/1.1\r\nX-A: a\x01b\r\n\r\n",
        "400 Bad Request",
        "Bad Request",
        "http1.invalid_characters",
    ),
    (
        b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n",
        "400 Bad Request",
        "Bad Request",
        "http1.invalid_url",
    ),
    (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "400 Bad Request",
        "Bad Request",
        "http1.codec_error",
    ),
    (
        b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        "426 Upgrade Required",
        "Upgrade Required",
        "low_version",
    ),
    (
        b"GET / HTTP/3.0\r\nHost: a\r\n\r\n",
        "426 Upgrade Required",
        "Upgrade Required",
        "low_version",
    ),
    (
        b"GET /\r\n\r\n",
        "426 Upgrade Required",
        "Upgrade Required",
        "low_version",
    ),
    (
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "426 Upgrade Required",
        "Upgrade Required",
        "low_version",
    ),
    (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "501 Not Implemented",
        "Not Implemented",
        "http1.invalid_transfer_encoding",
    ),
];

fn assert_is_reply(answer: &str, status: &str, body: &str) {
    let (head, rest) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let length = body.len();
    assert!(
        head.starts_with(&format!("HTTP/1.1 {status}\r\n")),
        "{answer}"
    );
    assert!(head.contains("\r\ncontent-type: text/plain"), "{answer}");
    assert!(
        head.contains(&format!("\r\ncontent-length: {length}")),
        "{answer}"
    );
    assert!(head.contains("\r\nconnection: close"), "{answer}");
    assert!(head.contains("\r\nx-refused: 127.0.0.1"), "{answer}");
    assert_eq!(rest, body);
}

#[tokio::test]
async fn malformed_requests_get_envoys_responses_and_are_counted() {
    for (request, status, body, details) in MALFORMED {
        let rig = Rig::plain(|_| {}).await;

        let answer = rig.talk(request).await;

        assert_is_reply(&answer, status, body);
        rig.events.expect(details).await;
    }
}

#[tokio::test]
async fn a_malformed_request_after_a_valid_one_gets_the_same_response() {
    let rig = Rig::plain(|_| {}).await;
    let mut client = rig.connect().await;

    client.send(GET).await;
    let (head, _) = client.response().await;
    client.send("garbage\r\n\r\n").await;

    assert!(head.contains("200"));
    assert_is_reply(&client.rest().await, "400 Bad Request", "Bad Request");
}

#[tokio::test]
async fn a_leniently_parsed_request_is_marked_and_others_are_not() {
    let rig = Rig::plain(|_| {}).await;
    let table = [
        ("GET /lenient HTTP/1.1\r\nHost: a\r\n\r\n", "none"),
        (
            "GET /lenient#a-fragment-beyond-the-first-bytes HTTP/1.1\r\nHost: a\r\n\r\n",
            "some(fragment)",
        ),
        (
            "POST /lenient HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
            "some(samelengths)",
        ),
        (
            "GET /lenient HTTP/1.1\r\nHost: a\r\nReferer: /#x\r\n\r\n",
            "none",
        ),
    ];

    for (request, expected) in table {
        for parts in [1, request.len()] {
            let mut client = rig.connect().await;
            client.send(GET).await;
            client.response().await;
            for part in request.as_bytes().chunks(parts) {
                client.send(part).await;
            }
            let (_, body) = client.response().await;

            assert_eq!(body.to_ascii_lowercase(), expected, "{request}");
        }
    }
}

#[tokio::test]
async fn characters_that_the_codec_rejects_in_a_target_reach_the_handler() {
    let rig = Rig::plain(|_| {}).await;
    let mut client = rig.connect().await;
    let request = "GET /target?a={\"b\":<c>} HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2);

    client.send(request).await;

    for _ in 0..2 {
        let (_, body) = client.response().await;
        assert_eq!(body, "/target?a={%22b%22:%3Cc%3E}");
    }
}

#[tokio::test]
async fn a_chunk_that_other_parsers_may_read_differently_ends_the_body_in_an_error() {
    for chunk in [
        "1;a\nb\r\nx\r\n0\r\n\r\n",
        "000000000000000001\r\nx\r\n0\r\n\r\n",
        "0\r\nx: y\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let rig = Rig::plain(|_| {}).await;
        let head = "POST /collect HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

        let answer = rig.talk(format!("{head}{chunk}")).await;

        assert!(answer.contains("malformed"), "{answer}");
    }
}

#[tokio::test]
async fn responses_of_the_handler_are_not_withheld() {
    let rig = Rig::plain(|_| {}).await;
    let mut client = rig.connect().await;

    for path in ["/empty-bad", "/bad", "/empty-bad"] {
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        let (head, body) = client.response().await;

        assert!(head.starts_with("http/1.1 400"), "{head}");
        assert_eq!(body, if path == "/bad" { "mine" } else { "" });
    }
    assert_eq!(rig.events.count("CodecError"), 0);
}

#[tokio::test]
async fn heads_beyond_the_limits_get_431() {
    let rig = Rig::plain(|s| s.headers.max_request_head = 1024).await;
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n",
        "a".repeat(2000)
    );
    let endless = format!("GET /{} ", "a".repeat(2000));
    let ninety: String = (0..90).map(|i| format!("x{i}: 1\r\n")).collect();
    let many = Rig::plain(|_| {}).await;
    let hundred: String = (0..101).map(|i| format!("x{i}: 1\r\n")).collect();

    let answers = [
        rig.talk(&long).await,
        rig.talk(&endless).await,
        many.talk(format!("GET / HTTP/1.1\r\n{hundred}\r\n")).await,
    ];
    let good = many
        .talk(format!(
            "GET / HTTP/1.1\r\nConnection: close\r\n{ninety}\r\n"
        ))
        .await;

    for answer in answers {
        let text = "Request Header Fields Too Large";
        assert_is_reply(&answer, &format!("431 {text}"), text);
    }
    assert!(good.starts_with("HTTP/1.1 200"), "{good}");
    rig.events.expect("http1.headers_too_large").await;
    many.events.expect("http1.too_many_headers").await;
}

#[tokio::test]
async fn http_1_0_reaches_the_handler() {
    let rig = Rig::plain(|_| {}).await;

    let answer = rig.talk("GET / HTTP/1.0\r\n\r\n").await;

    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn the_maximum_number_of_requests_closes_the_connection() {
    let rig = Rig::plain(|s| s.limits.max_requests = Some(2)).await;
    let mut client = rig.connect().await;

    client.send(GET).await;
    let (first, _) = client.response().await;
    client.send(GET).await;
    let (second, _) = client.response().await;

    assert!(!first.contains("connection: close"));
    assert!(second.contains("connection: close"));
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_proxy_header_on_a_port_without_proxy_protocol_gets_400_and_is_reported() {
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x02\0\x01\0\x02";
    let headers: [&[u8]; 2] = [v2, b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"];
    for header in headers {
        let rig = Rig::plain(|_| {}).await;

        let answer = rig.talk([header, GET.as_bytes()].concat()).await;

        assert_is_reply(&answer, "400 Bad Request", "Bad Request");
        rig.events.expect("UnexpectedProxyHeader").await;
        rig.events.expect("http1.codec_error").await;
    }
}

#[tokio::test]
async fn the_addresses_in_the_proxy_header_of_an_untrusted_peer_are_ignored() {
    let header = "PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n";
    let request = format!("{header}GET /peer HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    for (network, expected) in [
        ("127.0.0.9/32", "127.0.0.1:"),
        ("127.0.0.0/8", "203.0.113.7:"),
    ] {
        let listener = listener_config(|_| {});
        let tcp = TcpSettings {
            proxy_protocol: Some(crate::plan::ProxyProtocol {
                optional: false,
                trusted: Some(vec![network.parse().unwrap()]),
            }),
            ..TcpSettings::default()
        };
        let rig = Rig::with(tcp, listener.clone(), PortProtocol::Plain(listener)).await;

        let answer = rig.talk(request.clone()).await;
        let none = rig.talk(GET).await;

        assert!(answer.contains(&format!("\r\n\r\n{expected}")), "{answer}");
        assert_eq!(none, "");
    }
}

#[tokio::test]
async fn a_proxy_header_sets_the_client_and_a_second_one_is_malformed_http() {
    let listener = listener_config(|_| {});
    let tcp = TcpSettings {
        proxy_protocol: Some(crate::plan::ProxyProtocol::default()),
        ..TcpSettings::default()
    };
    let rig = Rig::with(tcp, listener.clone(), PortProtocol::Plain(listener)).await;
    let header = "PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n";

    let good = rig
        .talk(format!(
            "{header}GET /peer HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        ))
        .await;
    let twice = rig.talk(format!("{header}{header}{GET}")).await;
    let none = rig.talk(GET).await;

    assert!(good.ends_with("\r\n\r\n203.0.113.7:56324"), "{good}");
    assert_is_reply(&twice, "400 Bad Request", "Bad Request");
    assert_eq!(none, "");
    rig.events.expect("ProxyRejected").await;
    assert_eq!(rig.events.count("UnexpectedProxyHeader"), 0);
}

#[tokio::test]
async fn a_tunnel_forwards_any_bytes() {
    let rig = Rig::plain(|s| {
        s.timeouts.idle = Some(Duration::from_millis(100));
        s.limits.connections = Some(1);
    })
    .await;
    let mut client = rig.connect().await;
    client
        .send("GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        .await;
    let (head, _) = client.response().await;

    tokio::time::sleep(Duration::from_millis(300)).await;
    client.send("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let (echo, _) = client.response().await;
    let refused = rig.talk(GET).await;
    client.0.shutdown().await.unwrap();

    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(echo.starts_with("http/1.1 400"));
    assert_eq!(refused, "", "the tunnel counts as a connection");
    assert_eq!(client.rest().await, "");
    assert!(
        soon(async {
            rig.drain.start();
            rig.drain.drained(tokio::time::Instant::now() + SOON).await
        })
        .await
    );
}

#[tokio::test]
async fn a_client_that_closes_its_side_gets_its_responses() {
    let rig = Rig::plain(|_| {}).await;
    let mut client = rig.connect().await;

    let slow = "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(slow.repeat(2)).await;
    client.0.shutdown().await.unwrap();

    let answer = client.rest().await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    rig.events.expect("ConnectionClosed").await;
}

#[tokio::test(start_paused = true)]
async fn a_request_is_cancelled_some_seconds_after_its_client_has_closed_its_side() {
    let rig = Rig::plain(|_| {}).await;
    let mut client = rig.connect().await;

    client.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.0.shutdown().await.unwrap();

    assert_eq!(client.rest().await, "");
    rig.events.expect("ConnectionClosed").await;
}

#[tokio::test]
async fn a_refused_upgrade_changes_nothing_for_the_requests_that_follow() {
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n";
    let chunked = "POST /collect HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";
    let rig = Rig::plain(|_| {}).await;
    for (next, expected) in [
        (format!("{chunked}\r\n1;\0\r\nx\r\n0\r\n\r\n"), "malformed"),
        (
            format!("{chunked}\r\n{}1\r\nx\r\n", "0".repeat(40)),
            "malformed",
        ),
        (
            "GET /lenient#x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "Fragment",
        ),
        (
            "GET /target?\"<> HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "/target?%22%3C%3E",
        ),
    ] {
        for upgrades in [1, 2] {
            let mut client = rig.connect().await;
            client
                .send(format!("{}{next}", upgrade.repeat(upgrades)))
                .await;
            client.0.shutdown().await.unwrap();

            let answer = client.rest().await;
            assert_eq!(
                answer.matches("\r\n\r\nok").count(),
                upgrades,
                "{next} {answer}"
            );
            assert!(answer.contains(expected), "{next} {answer}");
        }
    }
}

#[tokio::test]
async fn bytes_that_arrive_with_an_accepted_upgrade_belong_to_the_tunnel() {
    let rig = Rig::plain(|_| {}).await;
    let mut client = rig.connect().await;
    let head = "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

    client
        .send(format!("{head}GET /<#> HTTP/1.1\r\n\r\n"))
        .await;
    let (head, _) = client.response().await;
    let mut echo = [0; 21];
    soon(client.0.read_exact(&mut echo)).await.unwrap();

    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert_eq!(&echo, b"GET /<#> HTTP/1.1\r\n\r\n");
}

#[tokio::test]
async fn a_flood_of_tiny_chunks_ends_the_connection() {
    let rig = Rig::plain(|_| {}).await;
    let client = rig.connect().await;
    let head = "POST /collect HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (mut read, mut write) = tokio::io::split(client.0);
    let bytes = format!("{head}{}", "1\r\na\r\n".repeat(200_000));

    let sent = tokio::spawn(async move { write.write_all(bytes.as_bytes()).await });
    let mut answer = Vec::new();
    let _ = soon(read.read_to_end(&mut answer)).await;

    let _ = sent.await;
    assert!(!String::from_utf8_lossy(&answer).contains("complete"));
    rig.events.expect("tiny_chunks").await;
    rig.events.expect("ConnectionClosed").await;
}

#[tokio::test]
async fn many_small_chunks_are_not_a_flood() {
    let rig = Rig::plain(|_| {}).await;
    let mut client = rig.connect().await;
    let head = "POST /collect HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for chunks in [
        "1\r\na\r\n".repeat(50_000),
        "6\r\nabcdef\r\n".repeat(120_000),
    ] {
        client.send(format!("{head}{chunks}0\r\n\r\n")).await;

        let (_, body) = client.response().await;
        assert_eq!(body, "complete");
    }
}
