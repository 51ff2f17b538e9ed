//! Check requests and responses over HTTP.

use super::*;

#[test]
fn the_service_receives_method_path_host_and_credentials_only() {
    let mut head = head("/a?b=c", &[("authorization", "Basic x"), ("cookie", "a=b")]);
    head.method = Method::POST;

    let service = HttpAuthService::default();
    let question = service.question(&head, None, None, TIMEOUT).unwrap();

    assert_eq!(
        (question.method(), question.uri().to_string()),
        (&Method::POST, "/a?b=c".into())
    );
    let headers = question.headers();
    assert_eq!(headers[HOST], "app.test");
    assert_eq!(headers["authorization"], "Basic x");
    assert_eq!(headers[CONTENT_LENGTH], "0");
    assert!(!headers.contains_key("cookie"));
}

#[test]
fn listed_fields_are_sent_as_one_line_each() {
    let lines = [
        ("x-a", "1"),
        ("x-a", "2"),
        ("cookie", "a=b"),
        ("cookie", "c=d"),
    ];
    let sent = names(&["x-a", "cookie", "x-missing", "content-length"]);

    let service = HttpAuthService::default();
    let question = service
        .question(&head("/", &lines), Some(&sent), None, TIMEOUT)
        .unwrap();

    assert_eq!(question.headers()["x-a"], "1,2");
    assert_eq!(question.headers()["cookie"], "a=b; c=d");
    assert_eq!(question.headers()[CONTENT_LENGTH], "0");
}

#[test]
fn the_path_has_a_prefix_or_is_replaced() {
    for (path, expected) in [
        (ServicePath::Prefix("/check".to_owned()), "/check/a?x=1"),
        (ServicePath::Fixed("/fixed".to_owned()), "/fixed"),
        (ServicePath::default(), "/a?x=1"),
    ] {
        let service = HttpAuthService {
            path,
            ..HttpAuthService::default()
        };
        let question = service
            .question(&head("/a?x=1", &[]), None, None, TIMEOUT)
            .unwrap();
        assert_eq!(question.uri().to_string(), expected);
    }
}

#[test]
fn a_body_comes_with_its_length_and_whether_it_is_whole() {
    let part = SentPart {
        data: "abc".into(),
        partial: true,
    };
    let forged = head("/", &[("x-envoy-auth-partial-body", "false")]);

    let service = HttpAuthService::default();
    let sent = names(&["x-envoy-auth-partial-body"]);
    let with = service
        .question(&forged, Some(&sent), Some(&part), TIMEOUT)
        .unwrap();
    let without = service
        .question(&forged, Some(&sent), None, TIMEOUT)
        .unwrap();

    assert_eq!(with.headers()[CONTENT_LENGTH], "3");
    assert_eq!(with.headers()["x-envoy-auth-partial-body"], "true");
    assert!(!without.headers().contains_key("x-envoy-auth-partial-body"));
}

#[test]
fn only_200_allows_and_only_5xx_is_a_failure() {
    let read = |status| {
        let status = StatusCode::from_u16(status).unwrap();
        HttpAuthService::default().read_answer(status, HeaderMap::new(), Bytes::new())
    };

    assert!(matches!(read(200), Ok(Verdict::Allow(_))));
    for status in [201, 204, 301, 302, 401, 403, 404, 418, 429, 499] {
        assert_eq!(denied(read(status).unwrap()).status.as_u16(), status);
    }
    for status in [500, 503, 599, 999] {
        assert!(
            matches!(read(status), Err(ServiceError::Status(_))),
            "{status}"
        );
    }
}

#[test]
fn a_denial_passes_cookies_and_location_but_no_framing() {
    let headers = fields(&[
        ("set-cookie", "a=b"),
        ("set-cookie", "c=d"),
        ("location", "https://login.test/"),
        ("transfer-encoding", "chunked"),
        ("content-length", "999"),
        ("connection", "close"),
    ]);

    let answer = HttpAuthService::default().read_answer(StatusCode::FOUND, headers, "x".into());

    let reply = denied(answer.unwrap());
    let names: Vec<_> = reply
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["set-cookie", "set-cookie", "location"]);
    assert_eq!((reply.flag, &*reply.details), ("UAEX", "ext_authz_denied"));
}

#[test]
fn the_backend_receives_listed_fields_and_the_last_value_of_each() {
    let service = HttpAuthService {
        headers_to_backend: AnswerFields::Listed(names(&["x-user"])),
        ..HttpAuthService::default()
    };
    let headers = fields(&[
        ("x-user", "eve"),
        ("x-user", "ada"),
        ("x-other", "1"),
        ("x-envoy-auth-headers-to-remove", "x-gone, host"),
    ]);
    let mut head = head("/", &[("x-user", "root"), ("x-gone", "1")]);

    let answer = service.read_answer(StatusCode::OK, headers, Bytes::new());
    allowed(answer.unwrap()).apply_to_head(&mut head).unwrap();

    let left: Vec<_> = head.headers.iter().collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(
        (&head.headers[HOST], &head.headers["x-user"]),
        (
            &HeaderValue::from_static("app.test"),
            &HeaderValue::from_static("ada"),
        )
    );
}

#[test]
fn all_fields_are_those_that_do_not_describe_the_answer() {
    let service = HttpAuthService {
        headers_to_backend: AnswerFields::All,
        ..HttpAuthService::default()
    };
    let headers = fields(&[
        ("x-user", "ada"),
        ("content-type", "text/html"),
        ("content-length", "5"),
        ("host", "auth.test"),
        ("date", "now"),
    ]);
    let mut head = head("/", &[("x-user", "root"), ("content-type", "text/plain")]);

    let answer = service.read_answer(StatusCode::OK, headers, Bytes::new());
    allowed(answer.unwrap()).apply_to_head(&mut head).unwrap();

    assert_eq!(head.headers["x-user"], "ada");
    assert_eq!(head.headers["content-type"], "text/plain");
    assert_eq!(
        (head.headers.len(), &head.headers[HOST]),
        (3, &HeaderValue::from_static("app.test"))
    );
}

#[test]
fn a_path_begins_with_a_slash() {
    assert_eq!(ServicePath::prefix(""), Ok(ServicePath::default()));
    assert!(ServicePath::prefix("/check").is_ok());
    for bad in ["check", "http://evil.test/", "/a b", "/a\r\nx: 1"] {
        assert!(ServicePath::prefix(bad).is_err(), "{bad}");
        assert!(ServicePath::fixed(bad).is_err(), "{bad}");
    }
}
