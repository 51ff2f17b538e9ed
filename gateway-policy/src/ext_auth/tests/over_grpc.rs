//! Check requests and responses over gRPC.

use super::*;
use crate::unary_call::{self, UnaryCallError};

fn asked(facts: &GrpcFacts<'_>) -> HttpRequest {
    let service = GrpcAuthService {
        authority: "auth.test:80".to_owned(),
        context: [("a".to_owned(), SecretText::new("b"))].into(),
        route_metadata: false,
    };
    let question = service.question(facts, TIMEOUT).unwrap();
    assert_eq!(question.headers()["te"], "trailers");
    assert_eq!(question.headers()["grpc-timeout"], "10000m");
    let framed = body_of(question.into_body());
    assert_eq!(framed[0], 0);
    assert_eq!(
        u32::from_be_bytes(framed[1..5].try_into().unwrap()) as usize,
        framed.len() - 5
    );
    let message = CheckRequest::decode(framed.slice(5..)).unwrap();
    let attributes = message.attributes.unwrap();
    assert_eq!(attributes.context_extensions["a"], "b");
    attributes.request.unwrap().http.unwrap()
}

fn body_of(body: towergate_core::Body) -> Bytes {
    use http_body_util::BodyExt;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(body.collect()).unwrap().to_bytes()
}

fn facts(head: &request::Parts) -> GrpcFacts<'_> {
    GrpcFacts {
        head,
        facts: RequestFacts::default(),
        sent: None,
        body: None,
        route: None,
    }
}

#[test]
fn all_fields_are_sent_with_the_pseudo_fields_of_http2() {
    let head = head(
        "/p?x=1",
        &[("x-a", "1"), ("x-a", "2"), ("x-forwarded-proto", "https")],
    );

    let http = asked(&facts(&head));

    assert_eq!(http.headers[":authority"], "app.test");
    assert_eq!(http.headers[":path"], "/p?x=1");
    assert_eq!(http.headers["x-a"], "1,2");
    assert!(!http.headers.contains_key("host"));
    assert_eq!(
        (&*http.scheme, &*http.host, http.size),
        ("https", "app.test", 0)
    );
}

#[test]
fn a_list_of_fields_replaces_the_pseudo_fields_too() {
    let head = head("/", &[("x-a", "1"), ("x-b", "2")]);
    let sent = names(&["x-a"]);

    let http = asked(&GrpcFacts {
        sent: Some(&sent),
        ..facts(&head)
    });

    assert_eq!(
        http.headers.into_iter().collect::<Vec<_>>(),
        [("x-a".into(), "1".into())]
    );
}

#[test]
fn a_body_that_is_no_text_is_sent_as_bytes() {
    let head = head("/", &[]);
    let part = |data: &'static [u8]| SentPart {
        data: data.into(),
        partial: false,
    };
    let (text, bytes) = (part(b"abc"), part(b"\xff\x00"));

    let http = asked(&GrpcFacts {
        body: Some(&text),
        ..facts(&head)
    });
    assert_eq!((&*http.body, http.size), ("abc", 3));
    assert_eq!(http.headers["x-envoy-auth-partial-body"], "false");
    let http = asked(&GrpcFacts {
        body: Some(&bytes),
        ..facts(&head)
    });
    assert_eq!(
        (&*http.body, &http.raw_body[..]),
        ("\u{fffd}\0", &b"\xff\x00"[..])
    );
}

#[test]
fn a_call_succeeds_with_status_0_and_exactly_one_message() {
    let read = |data: &'static [u8], code: &'static str| {
        let trailers = fields(&[("grpc-status", code)]);
        unary_call::read_message(
            StatusCode::OK,
            &HeaderMap::new(),
            &data.into(),
            Some(&trailers),
        )
    };

    assert_eq!(read(b"\0\0\0\0\x02ab", "0").unwrap(), "ab");
    assert!(matches!(
        read(b"\0\0\0\0\x02ab", "14"),
        Err(UnaryCallError::Grpc(14))
    ));
    for data in [
        &b"\0\0\0\0\x02a"[..],
        b"\0\0\0\0\x02abc",
        b"\x01\0\0\0\x02ab",
        b"\0\0",
        b"",
    ] {
        assert!(
            matches!(read(data, "0"), Err(UnaryCallError::Framing(_))),
            "{data:?}"
        );
    }
    let none = unary_call::read_message(StatusCode::OK, &HeaderMap::new(), &Bytes::new(), None);
    assert!(matches!(none, Err(UnaryCallError::Framing(_))));
}

fn option(name: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderField {
            key: name.to_owned(),
            value: value.to_owned(),
            raw_value: Bytes::new(),
        }),
        ..HeaderValueOption::default()
    }
}

fn read(answer: &CheckResponse) -> Result<Verdict, ServiceError> {
    GrpcAuthService::read_answer(answer.encode_to_vec().into())
}

fn ok(ok: OkResponse) -> CheckResponse {
    CheckResponse {
        ok_response: Some(ok),
        ..CheckResponse::default()
    }
}

#[test]
fn an_empty_answer_allows() {
    assert_eq!(
        allowed(read(&CheckResponse::default()).unwrap()),
        RequestChanges::default()
    );
}

#[test]
fn any_status_but_ok_denies() {
    let answer = CheckResponse {
        status: Some(RpcStatus { code: 16 }),
        ok_response: Some(OkResponse::default()),
        ..CheckResponse::default()
    };

    assert_eq!(denied(read(&answer).unwrap()).status, StatusCode::FORBIDDEN);
}

#[test]
fn an_answer_that_allows_and_denies_denies() {
    let answer = CheckResponse {
        status: Some(RpcStatus { code: 0 }),
        denied_response: Some(DeniedResponse::default()),
        ..CheckResponse::default()
    };

    assert_eq!(denied(read(&answer).unwrap()).status, StatusCode::FORBIDDEN);
}

#[test]
fn a_denial_with_invalid_parts_denies_without_them() {
    let answer = CheckResponse {
        status: Some(RpcStatus { code: 7 }),
        denied_response: Some(DeniedResponse {
            status: Some(HttpStatus { code: 99_999 }),
            headers: vec![
                option("bad name", "1"),
                option("x-a", "1"),
                option("content-length", "9"),
            ],
            body: "no".to_owned(),
        }),
        ..CheckResponse::default()
    };

    let reply = denied(read(&answer).unwrap());

    assert_eq!(
        (reply.status, &reply.body[..]),
        (StatusCode::FORBIDDEN, &b"no"[..])
    );
    assert_eq!(reply.headers.len(), 1);
}

#[test]
fn an_error_response_is_a_failure() {
    let answer = CheckResponse {
        status: Some(RpcStatus { code: 13 }),
        error_response: Some(DeniedResponse::default()),
        ..CheckResponse::default()
    };

    assert!(matches!(read(&answer), Err(ServiceError::Reported)));
}

#[test]
fn a_field_replaces_that_of_the_client_unless_it_is_appended() {
    let append = |value| HeaderValueOption {
        append: Some(BoolValue { value }),
        ..option("x-user", "ada")
    };
    let action = |append_action| HeaderValueOption {
        append_action,
        ..option("x-user", "ada")
    };
    let apply = |option: HeaderValueOption, before: &[(&str, &str)]| {
        let mut head = head("/", before);
        let answer = ok(OkResponse {
            headers: vec![option],
            ..OkResponse::default()
        });
        allowed(read(&answer).unwrap())
            .apply_to_head(&mut head)
            .unwrap();
        let all = head.headers.get_all("x-user").iter();
        all.map(|value| value.to_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let root = [("x-user", "root")];

    assert_eq!(apply(option("x-user", "ada"), &root), ["ada"]);
    assert_eq!(apply(append(false), &root), ["ada"]);
    assert_eq!(apply(append(true), &root), ["root,ada"]);
    assert_eq!(apply(append(true), &[]), ["ada"]);
    assert_eq!(apply(action(1), &root), ["root"]);
    assert_eq!(apply(action(1), &[]), ["ada"]);
    assert_eq!(apply(action(2), &root), ["ada"]);
    assert!(apply(action(3), &[]).is_empty());
    let unknown = ok(OkResponse {
        headers: vec![action(9)],
        ..OkResponse::default()
    });
    assert!(matches!(read(&unknown), Err(ServiceError::Change(_))));
}

#[test]
fn path_and_query_change_but_neither_host_nor_framing() {
    let set = QueryParameter {
        key: "x".to_owned(),
        value: "9".to_owned(),
    };
    let answer = ok(OkResponse {
        headers: vec![option("host", "evil.test"), option("content-length", "5")],
        headers_to_remove: vec!["host".to_owned(), ":path".to_owned(), "x-a".to_owned()],
        query_parameters_to_set: vec![set],
        query_parameters_to_remove: vec!["y".to_owned()],
        ..OkResponse::default()
    });
    let mut head = head("/p?x=1&y=2", &[("x-a", "1")]);

    allowed(read(&answer).unwrap())
        .apply_to_head(&mut head)
        .unwrap();

    assert_eq!(head.uri.to_string(), "/p?x=9");
    assert_eq!(head.headers.len(), 1);
    assert_eq!(head.headers[HOST], "app.test");
}

#[test]
fn an_invalid_change_leaves_the_request_as_it_was() {
    for bad in ["no-slash", "/a b", ""] {
        let answer = ok(OkResponse {
            headers: vec![option(":path", bad)],
            ..OkResponse::default()
        });
        assert!(
            matches!(read(&answer), Err(ServiceError::Change("path"))),
            "{bad}"
        );
    }
    let answer = ok(OkResponse {
        headers: vec![option(":method", "DELETE")],
        ..OkResponse::default()
    });
    assert!(matches!(read(&answer), Err(ServiceError::Change(_))));
}

#[test]
fn metadata_of_an_allowed_request_is_kept_as_json() {
    use crate::ext_auth::message::{CheckResponse, ListValue, MetadataValue, Struct, ValueKind};

    let value = |kind| MetadataValue { kind: Some(kind) };
    let inner = Struct {
        fields: [("t".to_owned(), value(ValueKind::Text("x".to_owned())))].into(),
    };
    let list = ListValue {
        values: vec![value(ValueKind::Flag(true)), MetadataValue { kind: None }],
    };
    let fields = [
        ("number".to_owned(), value(ValueKind::Number(7.0))),
        ("object".to_owned(), value(ValueKind::Struct(inner))),
        ("list".to_owned(), value(ValueKind::List(list))),
    ];
    let answer = CheckResponse {
        dynamic_metadata: Some(Struct {
            fields: fields.into(),
        }),
        ..CheckResponse::default()
    };

    let verdict = GrpcAuthService::read_answer(answer.encode_to_vec().into()).unwrap();

    let found = serde_json::Value::Object(allowed(verdict).metadata);
    let expected = serde_json::json!({
        "number": 7.0, "object": {"t": "x"}, "list": [true, null],
    });
    assert_eq!(found, expected);
}
