use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, Request, StatusCode, Version};
use proptest::prelude::*;

use super::*;
#[cfg(feature = "gateway")]
use crate::conn::TlsFingerprints;
use crate::http::grpc::GRPC_STATUS;

const START: Duration = Duration::from_secs(1_709_251_199);

/// The value of `text` for a request with a connection and a response.
fn written(text: &str) -> String {
    let request = Request::post("/p/x?a=1&b=2&%64=x%2Fy")
        .version(Version::HTTP_2)
        .header("host", "app.test")
        .header("x-in", "value")
        .header("x-url", "/u?token=secret")
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
            server_name: Some("app.test"),
            tls: Some(FormatTls {
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
            status: Some(StatusCode::OK),
            flags: "",
            details: "via_upstream",
            bytes_received: 7,
            response_duration: Some(Duration::from_micros(12_900)),
            connection: Some(42),
            attempts: 2,
            #[cfg(feature = "gateway")]
            upstream: Some(&([10, 0, 0, 1], 80).into()),
            upstream_local: Some("10.0.0.9:4711".parse().unwrap()),
            upstream_version: Some(Version::HTTP_11),
            #[cfg(feature = "gateway")]
            rule: Some(&rule()),
            ..FormatExchange::begun(UNIX_EPOCH + START)
        }),
        #[cfg(feature = "gateway")]
        logged: None,
    };
    let format: Format = text.parse().unwrap();
    let mut out = Vec::new();
    format.write(&context, &mut out);
    String::from_utf8(out).unwrap()
}

#[cfg(feature = "gateway")]
fn rule() -> crate::access_log::RuleName {
    crate::access_log::RuleName {
        route: std::sync::Arc::new(crate::plan::RouteId {
            kind: crate::plan::RouteKind::Http,
            namespace: "apps".to_owned(),
            name: "app".to_owned(),
        }),
        rule: 1,
        matched: 0,
        hostname: "app.test".into(),
    }
}

#[test]
fn a_grpc_status_is_that_of_the_trailers_the_head_or_the_http_status() {
    let status = |text: &str, kind: &'static str, head: Option<&'static str>, trailer| {
        let mut request = HeaderMap::new();
        request.insert("content-type", HeaderValue::from_static(kind));
        let head = head.map(HeaderValue::from_static);
        let response = HeaderMap::from_iter(head.map(|status| (GRPC_STATUS, status)));
        let context = FormatContext {
            request: Some(FormatRequest {
                headers: Some(&request),
                ..FormatRequest::default()
            }),
            response: Some(&response),
            exchange: Some(FormatExchange {
                status: Some(StatusCode::SERVICE_UNAVAILABLE),
                grpc_status: trailer,
                ..FormatExchange::begun(UNIX_EPOCH)
            }),
            ..FormatContext::default()
        };
        let text = text.parse::<Format>().unwrap().text(&context);
        text.map(|text| String::from_utf8(text).unwrap())
    };
    let (grpc, ok) = ("application/grpc", HeaderValue::from_static("0"));
    let found = |text: &str| Some(text.to_owned());

    assert_eq!(
        status("%GRPC_STATUS%", grpc, Some("5"), None),
        found("NotFound")
    );
    assert_eq!(
        status("%GRPC_STATUS%", grpc, Some("5"), Some(&ok)),
        found("OK")
    );
    assert_eq!(
        status("%GRPC_STATUS(SNAKE_STRING)%", grpc, Some("1"), None),
        found("CANCELLED")
    );
    assert_eq!(
        status("%GRPC_STATUS_NUMBER%", grpc, None, None),
        found("14")
    );
    assert_eq!(
        status("%GRPC_STATUS(NUMBER)%", grpc, Some("99"), None),
        found("99")
    );
    assert_eq!(status("%GRPC_STATUS%", "text/html", Some("5"), None), None);
}

#[test]
fn flags_have_long_names() {
    let context = FormatContext {
        exchange: Some(FormatExchange {
            flags: "UF,URX,XX",
            ..FormatExchange::begun(UNIX_EPOCH)
        }),
        ..FormatContext::default()
    };
    let format: Format = "%RESPONSE_FLAGS_LONG%".parse().unwrap();

    let expected = "UpstreamConnectionFailure,UpstreamRetryLimitExceeded,XX";
    assert_eq!(format.text(&context).unwrap(), expected.as_bytes());
}

#[test]
fn operators_that_are_not_supported_are_replaced() {
    let text = "%PROTOCOL% %NO_SUCH(a%b)% 100%% 5% %REQ(a b)%";

    let (replaced, errors) = Format::replace_unsupported(text);

    assert_eq!(replaced, "%PROTOCOL% - 100%% 5%% -");
    assert_eq!(errors.len(), 3);
    assert!(replaced.parse::<Format>().is_ok());
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
        ("%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "10.0.0.1"),
        (
            "%UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_PROTOCOL%",
            "10.0.0.9:4711 HTTP/1.1",
        ),
        ("%UPSTREAM_CLUSTER%", "httproute/apps/app/rule/1"),
        ("%ROUTE_NAME%", "httproute/apps/app/rule/1/match/0/app_test"),
        ("%CONNECTION_ID% %UPSTREAM_REQUEST_ATTEMPT_COUNT%", "42 2"),
        (
            "%RESPONSE_DURATION% %DURATION%%RESPONSE_TX_DURATION%",
            "12 ",
        ),
        ("%REQ_WITHOUT_QUERY(:PATH)%", "/p/x"),
        ("%REQ_WITHOUT_QUERY(x-none?x-url)%", "/u"),
        ("%REQ(host)%", "app.test"),
        ("%RESPONSE_FLAGS_LONG%", "-"),
        ("%TRACE_ID%%GRPC_STATUS%", ""),
        (
            "%START_TIME(%Y-%m-%dT%H:%M:%S%z)%",
            "2024-02-29T23:59:59+0000",
        ),
        ("%START_TIME(%s.%3f)%", "1709251199.000"),
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

#[test]
fn the_largest_limit_keeps_the_whole_value() {
    let format: Format = format!("before %PROTOCOL%%REQ(a):{}%", usize::MAX)
        .parse()
        .unwrap();
    let unlimited: Format = "before %PROTOCOL%%REQ(a)%".parse().unwrap();
    let context = FormatContext::default();

    assert_eq!(format.text(&context), unlimited.text(&context));
    assert!(format.text(&context).is_some());
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
