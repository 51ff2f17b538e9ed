//! Questions and answers.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, request};
use prost::Message;
use towergate_core::LocalReply;
use towergate_core::plan::Text;
use towergate_core::policy::RequestFacts;

use super::body::SentPart;
use super::grpc_service::{self, GrpcFacts};
use super::message::{
    BoolValue, CheckRequest, CheckResponse, DeniedResponse, HeaderField, HeaderValueOption,
    HttpRequest, HttpStatus, OkResponse, QueryParameter, RpcStatus,
};
use super::*;
use crate::secret::SecretText;

const TIMEOUT: Duration = Duration::from_secs(10);

fn head(path: &str, headers: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::get(path).header(HOST, "app.test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn names(names: &[&str]) -> Vec<Text<HeaderName>> {
    let parsed = names.iter().map(|name| name.parse::<HeaderName>().unwrap());
    parsed.map(Text::from).collect()
}

fn fields(all: &[(&'static str, &'static str)]) -> HeaderMap {
    let all = all.iter().map(|(name, value)| {
        let value = HeaderValue::from_static(value);
        (HeaderName::from_static(name), value)
    });
    all.collect()
}

fn denied(verdict: Verdict) -> LocalReply {
    match verdict {
        Verdict::Deny(reply) => reply,
        Verdict::Allow(changes) => panic!("allowed: {changes:?}"),
    }
}

fn allowed(verdict: Verdict) -> RequestChanges {
    match verdict {
        Verdict::Allow(changes) => changes,
        Verdict::Deny(reply) => panic!("denied: {reply:?}"),
    }
}

mod over_http {
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
}

mod over_grpc {
    use super::*;

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
        assert_eq!((&*http.body, &http.raw_body[..]), ("", &b"\xff\x00"[..]));
    }

    #[test]
    fn a_call_succeeds_with_status_0_and_exactly_one_message() {
        let read = |data: &'static [u8], code: &'static str| {
            let trailers = fields(&[("grpc-status", code)]);
            grpc_service::read_message(
                StatusCode::OK,
                &HeaderMap::new(),
                &data.into(),
                Some(&trailers),
            )
        };

        assert_eq!(read(b"\0\0\0\0\x02ab", "0").unwrap(), "ab");
        assert!(matches!(
            read(b"\0\0\0\0\x02ab", "14"),
            Err(ServiceError::Grpc(14))
        ));
        for data in [
            &b"\0\0\0\0\x02a"[..],
            b"\0\0\0\0\x02abc",
            b"\x01\0\0\0\x02ab",
            b"\0\0",
            b"",
        ] {
            assert!(
                matches!(read(data, "0"), Err(ServiceError::Framing(_))),
                "{data:?}"
            );
        }
        let none =
            grpc_service::read_message(StatusCode::OK, &HeaderMap::new(), &Bytes::new(), None);
        assert!(matches!(none, Err(ServiceError::Framing(_))));
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
        assert!(apply(append(true), &[]).is_empty());
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
}
