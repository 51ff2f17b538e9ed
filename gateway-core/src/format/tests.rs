use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, Request, StatusCode, Version};
use proptest::prelude::*;

use super::*;
#[cfg(feature = "gateway")]
use crate::conn::TlsFingerprints;

const START: Duration = Duration::from_secs(1_709_251_199);

/// The value of `text` for a request with a connection and a response.
fn written(text: &str) -> String {
    let request = Request::post("/p/x?a=1&b=2&%64=x%2Fy")
        .version(Version::HTTP_2)
        .header("host", "app.test")
        .header("x-in", "value")
        .header("x-percent", "%REQ(:PATH)%");
    let head = request.body(()).unwrap().into_parts().0;
    let mut response = HeaderMap::new();
    response.insert("x-backend", HeaderValue::from_static("echo"));
    let context = FormatContext {
        request: Some(FormatRequest::of(&head)),
        response: Some(&response),
        connection: Some(FormatConnection {
            peer: "192.0.2.1:4000".parse().unwrap(),
            local: "192.0.2.9:443".parse().unwrap(),
            client: "203.0.113.7:0".parse().unwrap(),
            tls: Some(FormatTls {
                server_name: Some("app.test"),
                version: "TLSv1.3",
                cipher: "TLS_AES_128_GCM_SHA256",
                #[cfg(feature = "gateway")]
                client: None,
                #[cfg(feature = "gateway")]
                fingerprints: Some(&TlsFingerprints {
                    ja3: Some("0a".into()),
                    ja4: Some("t13d_1_2".into()),
                }),
            }),
        }),
        exchange: Some(FormatExchange {
            start: UNIX_EPOCH + START,
            status: Some(StatusCode::OK),
            flags: "",
            details: "via_upstream",
            bytes_received: 7,
            #[cfg(feature = "gateway")]
            upstream: Some(&([10, 0, 0, 1], 80).into()),
            #[cfg(feature = "gateway")]
            rule: None,
        }),
    };
    let format: Format = text.parse().unwrap();
    let mut out = Vec::new();
    format.write(&context, &mut out);
    String::from_utf8(out).unwrap()
}

/// For operators that were recorded, the expected results are those of Envoy.
#[test]
fn operators_have_the_values_of_envoy() {
    for (text, expected) in [
        ("a-%REQ(x-in)%-b", "a-value-b"),
        #[cfg(feature = "gateway")]
        ("%TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT:3%", "0a t13"),
        ("a-%REQ(x-none)%-b", "a--b"),
        ("%REQ(x-in):3%", "val"),
        ("%REQ(x-none?X-IN)%", "value"),
        ("%REQ(x-in?:path)%", "value"),
        (
            "%REQ(:AUTHORITY)%%REQ(:PATH)%",
            "app.test/p/x?a=1&b=2&%64=x%2Fy",
        ),
        ("%REQ(:METHOD)% %REQ(:SCHEME)%", "POST https"),
        ("%REQ(x-percent)%", "%REQ(:PATH)%"),
        ("%RESP(x-backend)%", "echo"),
        ("%RESP(x-none?x-backend)%", "echo"),
        ("%PATH(NQ)% %PATH%", "/p/x /p/x?a=1&b=2&%64=x%2Fy"),
        ("%QUERY_PARAM(b)%%QUERY_PARAM(c)%", "2"),
        ("%QUERY_PARAM(d)%", "x/y"),
        ("%PROTOCOL%", "HTTP/2"),
        ("%START_TIME(%Y)%", "2024"),
        ("%START_TIME(%H(%M))%", "23(59)"),
        ("%START_TIME%", "2024-02-29T23:59:59.000Z"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "203.0.113.7"),
        ("%DOWNSTREAM_REMOTE_ADDRESS%", "203.0.113.7:0"),
        ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "192.0.2.1:4000"),
        ("%DOWNSTREAM_LOCAL_PORT%", "443"),
        ("%REQUESTED_SERVER_NAME%", "app.test"),
        ("%DOWNSTREAM_TLS_VERSION%", "TLSv1.3"),
        ("%DOWNSTREAM_PEER_SUBJECT%%DOWNSTREAM_PEER_CERT%", ""),
        (
            "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%",
            "200 - via_upstream",
        ),
        ("%BYTES_RECEIVED%", "7"),
        ("%UPSTREAM_HOST%", "10.0.0.1:80"),
        ("%VIRTUAL_CLUSTER_NAME%", ""),
        ("100%%", "100%"),
        ("%%REQ(x-in)%%", "%REQ(x-in)%"),
        ("no operators", "no operators"),
    ] {
        assert_eq!(written(text), expected, "{text}");
    }
}

#[test]
fn what_is_not_supported_is_an_error_that_names_it() {
    for (text, expected) in [
        (
            "%NO_SUCH_OPERATOR%",
            "command operator %NO_SUCH_OPERATOR% is not supported",
        ),
        (
            "a %ENVIRONMENT(HOME)%",
            "command operator %ENVIRONMENT(HOME)% is not supported",
        ),
        (
            "%REQ%",
            "arguments of command operator %REQ% are not supported",
        ),
        (
            "%REQ(a b)%",
            "arguments of command operator %REQ(a b)% are not supported",
        ),
        (
            "%PROTOCOL(x)%",
            "arguments of command operator %PROTOCOL(x)% are not supported",
        ),
        (
            "%PATH(WQ:ORIG)%",
            "arguments of command operator %PATH(WQ:ORIG)% are not supported",
        ),
        (
            "50% off",
            "\"50% off\" has a % that starts no command operator; write %% for a literal %",
        ),
        (
            "%REQ(x-in",
            "\"%REQ(x-in\" has a % that starts no command operator; write %% for a literal %",
        ),
    ] {
        let error = text.parse::<Format>().unwrap_err();
        assert_eq!(error.to_string(), expected, "{text}");
    }
}

#[test]
fn an_operator_without_a_value_adds_nothing() {
    let format: Format = "%REQ(x-in)%%RESP(x)%%START_TIME%%UPSTREAM_HOST%"
        .parse()
        .unwrap();

    assert_eq!(format.header_value(&FormatContext::default()), None);
    assert!(format.reads_request());
    assert!(!"%RESPONSE_CODE%".parse::<Format>().unwrap().reads_request());
}

#[test]
fn a_value_without_operators_is_plain() {
    let plain = |text: &str| match FieldText::parse(text) {
        Ok(FieldText::Plain(value)) => Some(value.to_str().unwrap().to_owned()),
        _ => None,
    };

    assert_eq!(plain("100%%").as_deref(), Some("100%"));
    assert_eq!(plain("a b").as_deref(), Some("a b"));
    assert_eq!(plain("%PROTOCOL%"), None);
    assert_eq!(plain(" a"), None);
    assert_eq!(plain("a\nb"), None);
}

proptest! {
    /// Parsing any string results in a format or an error. A format can be evaluated without a panic.
    #[test]
    fn any_text_can_be_parsed_and_written(text in "[ -~]{0,40}|(%[A-Z_]{1,12}(\\([ -~]{0,8}\\))?(:[0-9]{1,3})?%|[ -~]){0,6}") {
        if let Ok(format) = text.parse::<Format>() {
            let mut out = Vec::new();
            format.write(&FormatContext::default(), &mut out);
            prop_assert_eq!(format.source(), &*text);
        }
    }

    /// If all percent signs of a string are doubled, its value is the original string.
    #[test]
    fn doubled_percent_signs_are_literal(text in "[ -~]{0,30}") {
        let escaped = text.replace('%', "%%");

        let format: Format = escaped.parse().unwrap();

        prop_assert_eq!(format.text(&FormatContext::default()).unwrap_or_default(), text.into_bytes());
    }
}
