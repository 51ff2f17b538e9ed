//! Sends generated requests, which servers interpret in different ways, through a whole gateway.
//!
//! [`lab`] defines the invariants. Some requests must be rejected: the backend must receive nothing from
//! their connections.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod lab;

use lab::Lab;

/// A second request, hidden in bytes that one interpretation treats as a body.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\n";
/// The last chunk and the end of the trailers: five bytes.
const END: &str = "0\r\n\r\n";

/// A `POST` request with this body and with these field lines, which include line ends.
fn post(fields: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Vec<u8> {
    let head = b"POST /first HTTP/1.1\r\nHost: a.test\r\n";
    [head, fields.as_ref(), b"\r\n", body.as_ref()].concat()
}

/// Replaces each `@` by `byte`.
fn put(formula: &str, byte: u8) -> Vec<u8> {
    let parts = formula.as_bytes().split(|at| *at == b'@');
    parts.collect::<Vec<_>>().join(&byte)
}

/// Checks the invariants. Returns the number of connections on which a request was forwarded.
async fn hold(cases: impl IntoIterator<Item = Vec<u8>>) -> usize {
    let lab = Lab::new().await;
    let mut forwarded = 0;
    for (index, bytes) in cases.into_iter().enumerate() {
        let talk = lab.talk(&bytes).await;
        talk.check(&bytes);
        forwarded += usize::from(!talk.requests.is_empty());
        if index % 32 == 0 {
            assert!(lab.serves().await, "after {}", bytes.escape_ascii());
        }
    }
    assert!(lab.serves().await);
    forwarded
}

/// Checks that no request is forwarded, that the client receives an error, and that the connection is closed.
async fn refuse(cases: impl IntoIterator<Item = Vec<u8>>) {
    let lab = Lab::new().await;
    for bytes in cases {
        let talk = lab.talk(&bytes).await;
        talk.check(&bytes);
        let sent = bytes.escape_ascii();
        assert!(
            talk.requests.is_empty(),
            "{sent}\nforwarded: {:?}",
            talk.requests
        );
        let statuses = talk.statuses();
        assert!(
            matches!(statuses[..], [400..=501]),
            "{sent}\nanswered: {statuses:?}"
        );
    }
    assert!(lab.serves().await);
}

#[tokio::test(start_paused = true)]
async fn any_byte_around_transfer_encoding_is_unambiguous() {
    let formulas = [
        "Transfer-Encoding:@chunked\r\n",
        "Transfer-Encoding: chunked@\r\n",
        "Transfer-Encoding@: chunked\r\n",
        "@Transfer-Encoding: chunked\r\n",
        "Transfer@Encoding: chunked\r\n",
        "Transfer-Encoding: chu@nked\r\n",
        "X: y@Transfer-Encoding: chunked\r\n",
        "X: y@\nTransfer-Encoding: chunked\r\n",
        "X: y\r@Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\n@X: y\r\n",
    ];
    let cases = formulas.iter().flat_map(|formula| {
        let lines = (0..=255).map(|byte| put(formula, byte));
        lines.flat_map(|line| {
            let length: &[u8] = b"Content-Length: 5\r\n";
            let body = [END, HIDDEN].concat();
            [
                post(&line, &body),
                post([length, &line].concat(), &body),
                post([&line, length].concat(), &body),
            ]
        })
    });

    let forwarded = hold(cases).await;

    // Some requests are forwarded. If the byte is white space, the body is chunked. If the byte changes the
    // name of the field, the body has the given length.
    assert!((20..7680).contains(&forwarded), "{forwarded}");
}

#[tokio::test(start_paused = true)]
async fn any_byte_in_a_length_is_unambiguous() {
    let formulas = [
        "Content-Length:@5\r\n",
        "Content-Length: 5@\r\n",
        "Content-Length@: 5\r\n",
        "Content@Length: 5\r\n",
        "Content-Length: @5\r\nContent-Length: 5\r\n",
        "X: y@Content-Length: 5\r\n",
    ];
    let lines = formulas
        .iter()
        .flat_map(|formula| (0..=255).map(|byte| put(formula, byte)));

    let forwarded = hold(lines.map(|line| post(line, ["hello", HIDDEN].concat()))).await;

    assert!(forwarded > 6, "{forwarded}");
}

#[tokio::test(start_paused = true)]
async fn any_byte_in_the_request_line_or_host_is_unambiguous() {
    let formulas = [
        "GET@/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET /@ HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET /a@b HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET / HTTP/1.1@\r\nHost: a.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a@test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:@a.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost@: a.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test@Host: b.test\r\n\r\n",
        "GET http://a@test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "@GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET / HTTP/1.1\r\n@Host: a.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\n\r@",
    ];
    let cases = formulas
        .iter()
        .flat_map(|formula| (0..=255).map(|byte| put(formula, byte)));

    let forwarded = hold(cases.map(|case| [&case, HIDDEN.as_bytes()].concat())).await;

    assert!(forwarded > 100, "{forwarded}");
}

#[tokio::test(start_paused = true)]
async fn any_byte_in_chunks_is_unambiguous() {
    let formulas = [
        "@5\r\nhello\r\n0\r\n\r\n",
        "5@\r\nhello\r\n0\r\n\r\n",
        "5\r@hello\r\n0\r\n\r\n",
        "5\r\nhello@\n0\r\n\r\n",
        "5\r\nhello\r@0\r\n\r\n",
        "5\r\nhello\r\n0@\r\n\r\n",
        "5\r\nhello\r\n0\r\n@\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-T: @\r\n\r\n",
        "5;a=@\r\nhello\r\n0\r\n\r\n",
    ];
    let bodies = formulas
        .iter()
        .flat_map(|formula| (0..=255).map(|byte| put(formula, byte)));
    let chunked = "Transfer-Encoding: chunked\r\n";

    let forwarded =
        hold(bodies.map(|body| post(chunked, [&body, HIDDEN.as_bytes()].concat()))).await;

    assert!(forwarded > 100, "{forwarded}");
}

#[tokio::test(start_paused = true)]
async fn pairs_of_framings_are_unambiguous() {
    let lines = [
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: ,chunked\r\n",
        "transfer-encoding: CHUNKED\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding: x\r\n\tchunked\r\n",
        "Transfer_Encoding: chunked\r\n",
        "Content-Encoding: chunked\r\n",
        "Connection: Transfer-Encoding\r\n",
        "Connection: Content-Length, Host\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 0\r\n",
        "Content-Length: 44\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 05\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 18446744073709551621\r\n",
        "Content_Length: 5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 5\r\n ,5\r\n",
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\n",
        "Expect: 100-continue\r\n",
        "",
    ];
    let bodies = [
        [END, HIDDEN].concat(),
        ["5\r\nhello\r\n0\r\n\r\n", HIDDEN].concat(),
    ];
    let mut cases = Vec::new();
    for (first, second) in lines
        .iter()
        .flat_map(|first| lines.map(|second| (first, second)))
    {
        for body in &bodies {
            cases.push(post([first, second].concat(), body));
        }
    }

    let forwarded = hold(cases).await;

    assert!(forwarded > 50, "{forwarded}");
}

#[tokio::test(start_paused = true)]
async fn ambiguous_requests_are_rejected() {
    let chunked = "Transfer-Encoding: chunked\r\n";
    let fields = [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
        "Transfer-Encoding : chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "Transfer-Encoding: chunked\x00\r\n",
        "X: y\r\n folded\r\n",
        "X: y\rz\r\n",
        "X y\r\n",
        ": y\r\n",
        "Host: b.test\r\n",
        "Host: a.test\r\n",
    ];
    let bodies = [[END, HIDDEN].concat(), "hello".to_owned()];
    let mut cases: Vec<_> = fields.map(|fields| post(fields, &bodies[0])).into();
    cases.extend(fields.map(|fields| post(fields, &bodies[1])));
    for host in [
        "",
        "a.test, b.test",
        "a.test/",
        "u@a.test",
        "a.test:x",
        "a test",
        "[::1",
        "a.test#",
    ] {
        cases.push(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n{HIDDEN}").into());
    }
    for line in [
        "GET / HTTP/1.0",
        "GET /",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / http/1.1",
        "get / HTTP/1.1",
        "GET a HTTP/1.1",
        "G@T / HTTP/1.1",
    ] {
        cases.push(format!("{line}\r\nHost: a.test\r\n\r\n{HIDDEN}").into());
    }
    cases.push(format!("GET / HTTP/1.1\r\n\r\n{HIDDEN}").into());

    refuse(cases).await;
    // If a request has malformed chunks, its head may be forwarded before the error, but never the whole
    // request.
    let lab = Lab::new().await;
    for chunks in [
        "5_0\r\nhello",
        "0x5\r\nhello",
        "-5\r\nhello",
        "5 5\r\nhello",
        "\r\nhello",
        "ffffffffffffffffff\r\nhello",
        "5\r\nhello!\r\n",
    ] {
        let bytes = post(chunked, [chunks, END, HIDDEN].concat());
        let talk = lab.talk(&bytes).await;
        talk.check(&bytes);
        assert!(talk.requests.is_empty(), "{chunks}: {:?}", talk.requests);
    }
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_get_responses_up_to_a_malformed_one() {
    let lab = Lab::new().await;
    let bad = "GET /bad HTTP/1.1\r\nHost: a.test\r\nX : y\r\n\r\n";
    let whole = post("Content-Length: 5\r\n", "hello");
    let chunks = post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n");
    let bytes = [
        &whole,
        &chunks,
        HIDDEN.as_bytes(),
        bad.as_bytes(),
        HIDDEN.as_bytes(),
    ]
    .concat();

    let talk = lab.talk(&bytes).await;

    talk.check(&bytes);
    assert_eq!(talk.statuses(), [200, 200, 200, 400]);
    assert_eq!(talk.requests.len(), 3);
    assert!(talk.requests[0].ends_with(b"\r\n\r\nhello"));
    assert!(talk.requests[1].ends_with(b"5\r\nhello\r\n0\r\n\r\n"));
}

#[tokio::test(start_paused = true)]
async fn a_connection_cut_at_any_position_does_not_affect_others() {
    let chunks = "3;x=y\r\nabc\r\n0\r\nX-T: u\r\n\r\n";
    let bytes = post(
        "Transfer-Encoding: chunked\r\nTE: trailers\r\n",
        [chunks, HIDDEN].concat(),
    );

    let forwarded = hold((0..=bytes.len()).map(|cut| bytes[..cut].to_vec())).await;

    assert_eq!(forwarded, HIDDEN.len() + 1);
}
