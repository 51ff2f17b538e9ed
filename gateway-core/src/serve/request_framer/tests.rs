use proptest::prelude::*;

use super::*;

/// Frames `text`, received in parts of the lengths `parts`; the last length repeats. Returns the bytes that the
/// codec parses, the defect of a head, and whether a chunk is malformed.
fn framed(text: &[u8], parts: &[usize]) -> (Vec<u8>, Option<(u64, LenientParse)>, bool) {
    let mut framer = RequestFramer::new(0);
    let (mut out, mut lenient) = (Vec::new(), None);
    let (mut rest, mut at) = (text, 0);
    while !rest.is_empty() && !framer.is_malformed() {
        let len = parts[at.min(parts.len() - 1)].clamp(1, rest.len());
        let (part, left) = rest.split_at(len);
        let framed = framer.scan(part);
        match &framed.replacement {
            Some(bytes) => out.extend_from_slice(bytes),
            None => out.extend_from_slice(&part[..framed.valid]),
        }
        lenient = lenient.or(framed.lenient);
        rest = match framer.is_switching() {
            // The response refuses the upgrade.
            true => {
                framer.settle_upgrade(false);
                &rest[framed.valid..]
            }
            false => left,
        };
        at += 1;
    }
    (out, lenient, framer.is_malformed())
}

fn whole(text: &str) -> (String, Option<(u64, LenientParse)>, bool) {
    let (out, lenient, malformed) = framed(text.as_bytes(), &[text.len()]);
    (String::from_utf8(out).unwrap(), lenient, malformed)
}

#[test]
fn invalid_heads_that_the_codec_accepts_are_found_in_every_form() {
    use LenientParse::*;
    let long = "0".repeat(200);
    let spaces = " ".repeat(200);
    for (text, expected) in [
        ("GET /a#b HTTP/1.1\r\n\r\n", Some((0, Fragment))),
        ("\r\n\r\nGET /a#b HTTP/1.1\r\n\r\n", Some((0, Fragment))),
        ("GET HTTP://a.test/#b HTTP/1.1\r\n\r\n", Some((0, Fragment))),
        (
            "GET / HTTP/1.1\r\n\r\nGET /#b HTTP/1.1\r\n\r\n",
            Some((1, Fragment)),
        ),
        ("GET /a HTTP/1.1\r\nReferer: /#b\r\n\r\n", None),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n#b ", None),
        (
            "POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
            Some((0, BothFramings)),
        ),
        (
            "GET / HTTP/1.1\ntransfer-encoding: chunked\nX: y\nCONTENT-LENGTH: 2\n\n",
            Some((0, BothFramings)),
        ),
        (
            "HEAD / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
            Some((0, SameLengths)),
        ),
        (
            "PUT / HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcdPUT /#x HTTP/1.1\r\n\r\n",
            Some((1, Fragment)),
        ),
        (
            "PUT / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nab\r\n0\r\nx: y\r\n\r\nPUT /#x HTTP/1.1\r\n\r\n",
            Some((1, Fragment)),
        ),
        (
            &format!("PUT / HTTP/1.1\r\nContent-Length: {long}1\r\n\r\n"),
            Some((0, LongFraming)),
        ),
        (
            &format!("PUT / HTTP/1.1\r\nTransfer-Encoding:{spaces}chunked\r\n\r\n0\r\n\r\n"),
            Some((0, LongFraming)),
        ),
        (
            &format!("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked{spaces}\r\n\r\n0\r\n\r\n"),
            Some((0, LongFraming)),
        ),
        (
            "PUT / HTTP/1.1\r\nContent-Length: 2\r\nX-Content-Length: 2\r\n\r\nok",
            None,
        ),
        (
            "PUT / HTTP/1.1\r\nContent-Length-X: 2\r\nContent-Length: 2\r\n\r\nok",
            None,
        ),
    ] {
        for part in [1, 2, 3, 7, 16, text.len()] {
            let (out, lenient, malformed) = framed(text.as_bytes(), &[part]);

            assert_eq!(
                (lenient, malformed),
                (expected, false),
                "{text:?} in {part}"
            );
            assert_eq!(out, text.as_bytes());
        }
    }
}

#[test]
fn characters_that_the_codec_rejects_are_escaped_in_the_path_and_the_query() {
    for (target, expected) in [
        ("/?filter={\"a\":1}", "/?filter={%22a%22:1}"),
        ("/a<b>`c", "/a%3Cb%3E%60c"),
        ("/?a<b>`c", "/?a%3Cb%3E`c"),
        ("http://a.test/<?<", "http://a.test/%3C?%3C"),
        ("http://a.test?<", "http://a.test?%3C"),
        ("http://a<b/", "http://a<b/"),
        ("a<b", "a<b"),
        ("*", "*"),
    ] {
        let head = |target: &str| format!("GET {target} HTTP/1.1\r\nX: \"<>`\r\n\r\n");
        let text = head(target).repeat(2);
        for part in 1..=text.len() {
            let (out, ..) = framed(text.as_bytes(), &[part]);

            assert_eq!(
                String::from_utf8(out).unwrap(),
                head(expected).repeat(2),
                "{target} in {part}"
            );
        }
    }
}

#[test]
fn a_head_ends_after_a_request_line_without_a_valid_version() {
    for line in [
        "GET /x",
        "GET",
        "GET /< HTTP/1.2",
        "GET  HTTP/1.1 ",
        "SSH-2.0-x",
    ] {
        for end in ["\r\n", "\n"] {
            let text = format!("\r\n{line}{end}");
            for part in 1..=text.len() {
                let (out, ..) = framed(text.as_bytes(), &[part]);

                let expected = format!("{text}\r\n").replace('<', "%3C");
                assert_eq!(String::from_utf8(out).unwrap(), expected, "{part}");
            }
        }
    }
}

#[test]
fn bytes_end_before_a_malformed_chunk() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (body, valid) in [
        ("2\r\nab\r\nx", "2\r\nab\r\n"),
        ("00000000000000000001\r\n", "0000000000000000"),
        ("1;a\0b\r\n", "1;a"),
        ("1;a\nb\r\n", "1;a"),
        // hyper does not end the trailers at a lone LF.
        ("0\r\nx: y\n\r\nGET /b HTTP/1.1\r\n\r\n", "0\r\nx: y"),
    ] {
        assert_eq!(
            whole(&format!("{head}{body}")),
            (format!("{head}{valid}"), None, true)
        );
    }
}

#[test]
fn what_follows_a_request_for_another_protocol_is_kept_until_its_response_is_known() {
    for head in [
        "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nupgrade: x\r\n\r\n",
        "PUT /<> HTTP/1.1\r\nupgrade: x\r\nContent-Length: 2\r\n\r\nab",
        "PUT / HTTP/1.1\r\nupgrade: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ] {
        let next = "GET /<> HTTP/1.1\r\n\r\n";
        let text = format!("{head}{next}");
        for (accepted, expected) in [(true, None), (false, Some("GET /%3C%3E HTTP/1.1\r\n\r\n"))] {
            let mut framer = RequestFramer::new(0);

            assert_eq!(framer.scan(text.as_bytes()).valid, head.len(), "{head}");
            assert!(framer.is_switching());
            assert_eq!(framer.scan(next.as_bytes()), Framed::default());
            framer.settle_upgrade(accepted);
            let framed = framer.scan(next.as_bytes());
            assert_eq!(framed.valid, next.len());
            assert_eq!(framed.replacement.as_deref(), expected.map(str::as_bytes));
        }
    }
}

#[test]
fn chunks_of_and_after_a_request_with_a_refused_upgrade_are_checked() {
    let head = "POST / HTTP/1.1\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let next = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (text, valid) in [
        (format!("{head}1;a\nb\r\n"), format!("{head}1;a")),
        (
            format!("{head}0\r\n\r\n{next}1;a\nb\r\n"),
            format!("{head}0\r\n\r\n{next}1;a"),
        ),
    ] {
        for part in 1..=text.len() {
            assert_eq!(
                framed(text.as_bytes(), &[part]),
                (valid.clone().into_bytes(), None, true),
                "{text:?} in {part}"
            );
        }
    }
}

/// Requests, valid and invalid.
fn any_request() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "GET / HTTP/1.1",
        "GET /#x HTTP/1.1",
        "POST /<\"`?<\"` HTTP/1.1",
        "CONNECT a:1 HTTP/1.1",
        "\r\nPUT /x HTTP/1.1",
        "GET http://a/`?` HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /",
        "GET HTTP/1.1",
        "GET / x HTTP/1.0",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.12",
        "",
    ]);
    let field = prop::sample::select(vec![
        "Host: a",
        "Content-Length: 3",
        "Content-Length: 0",
        "content-length : 3",
        "Content-Length: x",
        "Transfer-Encoding: chunked",
        "transfer-encoding: gzip",
        "Upgrade: x",
        "Cookie: content-length: 4",
        "T",
        "c:",
        " fold",
    ]);
    let body = prop::sample::select(vec![
        "",
        "abc",
        "3\r\nabc\r\n0\r\n\r\n",
        "0\r\nx: y\r\n\r\n",
        "0\r\nx: y\n\r\n",
        "1;\0\r\n",
        "00000000000000000000",
        "2\r\nabc",
    ]);
    (
        line,
        prop::collection::vec(field, 0..4),
        body,
        prop::sample::select(vec!["\r\n", "\n"]),
    )
        .prop_map(|(line, fields, body, end)| {
            let fields: String = fields.iter().map(|field| format!("{field}{end}")).collect();
            format!("{line}{end}{fields}{end}{body}")
        })
}

proptest! {
    #[test]
    fn the_result_does_not_depend_on_how_the_bytes_arrive(
        requests in prop::collection::vec(any_request(), 1..4),
        parts in prop::collection::vec(1usize..20, 1..8),
    ) {
        let text = requests.concat();

        prop_assert_eq!(framed(text.as_bytes(), &parts), framed(text.as_bytes(), &[text.len()]));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, part in 1usize..9) {
        let _ = framed(&bytes, &[part]);
    }
}
