use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::*;
use crate::BoxError;
use crate::policy::{Formatter, RejectedBody, RequestHead, ResponseEffects};

/// A translated request, and the effects that translate its response.
struct Translated {
    headers: HeaderMap,
    body: Body,
    effects: ResponseEffects,
}

impl Translated {
    fn of(headers: &[(&'static str, &'static str)], body: &'static str) -> Self {
        let mut request = Request::post("/echo.Echo/Say");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut head, mut body) = request.body(Body::from(body)).unwrap().into_parts();
        let mut effects = ResponseEffects::default();
        let request = RequestHead::outside_gateway(&mut head, &mut effects);
        let wrapped = GrpcWeb.wrap(&mut PolicyRequest::new(request, &mut body));
        assert_eq!(wrapped, Ok(()));
        Self {
            headers: head.headers,
            body,
            effects,
        }
    }

    async fn respond(self, mut response: Response<Body>) -> (HeaderMap, Bytes) {
        let formatter = Formatter(&|_, _| None);
        self.effects.apply(&mut response, false, false, formatter);
        let (head, body) = response.into_parts();
        let collected = body.collect().await.unwrap();
        assert!(collected.trailers().is_none());
        (head.headers, collected.to_bytes())
    }
}

/// A response of a gRPC backend: its message in pieces, then trailers.
fn grpc_response(pieces: &[&'static [u8]]) -> Response<Body> {
    let mut fields = HeaderMap::new();
    fields.insert("grpc-status", HeaderValue::from_static("0"));
    fields.insert("grpc-message", HeaderValue::from_static(""));
    fields.insert("content-length", HeaderValue::from_static("7"));
    let data = pieces
        .iter()
        .map(|piece| Frame::data(Bytes::from_static(piece)));
    let frames: Vec<_> = data.chain([Frame::trailers(fields)]).collect();
    let frames = frames.into_iter().map(Ok::<_, BoxError>);
    let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
    let response = Response::builder().header("content-type", "application/grpc+proto");
    response.body(body).unwrap()
}

const BINARY: (&str, &str) = ("content-type", "application/grpc-web+proto");
const TEXT: (&str, &str) = ("content-type", "application/grpc-web-text");
const TRAILERS: &[u8] = b"\x80\0\0\0\x1egrpc-status:0\r\ngrpc-message:\r\n";

#[tokio::test]
async fn a_binary_call_is_translated_in_both_directions() {
    let call = Translated::of(&[BINARY, ("content-length", "10")], "\0\0\0\0\x05hello");

    assert_eq!(call.headers["content-type"], "application/grpc");
    assert_eq!(call.headers["te"], "trailers");
    assert!(!call.headers.contains_key("content-length"));

    let response = grpc_response(&[b"\0\0\0\0", b"\x05hello"]);
    let (headers, body) = call.respond(response).await;
    assert_eq!(headers["content-type"], "application/grpc-web+proto");
    assert_eq!(body, [b"\0\0\0\0\x05hello", TRAILERS].concat());
}

#[tokio::test]
async fn a_text_call_is_decoded_and_its_response_encoded_frame_by_frame_if_accepted() {
    let accept = ("accept", "application/grpc-web-text");
    let call = Translated::of(&[TEXT, accept], "AAAAAAVoZWxsbw==");
    let Translated { body, .. } = Translated::of(&[TEXT], "AAAAAAVoZWxsbw==");
    let sent = body.collect().await.unwrap().to_bytes();
    assert_eq!(sent, "\0\0\0\0\x05hello");

    let response = grpc_response(&[b"\0\0\0\0", b"\x05hel", b"lo"]);
    let (headers, body) = call.respond(response).await;

    assert_eq!(headers["content-type"], "application/grpc-web-text+proto");
    let trailers = data_encoding::BASE64.encode(TRAILERS);
    assert_eq!(body, format!("AAAAAAVoZWxsbw=={trailers}"));
}

#[tokio::test]
async fn a_text_that_is_not_base64_is_rejected() {
    for (text, details) in [
        ("!!!", "grpc_base_64_decode_failed_bad_size"),
        ("!!!!", "grpc_base_64_decode_failed"),
    ] {
        let call = Translated::of(&[TEXT], text);

        let error = call.body.collect().await.unwrap_err();

        let RejectedBody(reply) = error.downcast_ref().unwrap();
        assert_eq!((reply.status.as_u16(), &*reply.details), (400, details));
    }
}

#[tokio::test]
async fn a_response_that_is_not_grpc_has_its_status_and_text_in_the_head() {
    let call = Translated::of(&[BINARY], "");
    let mut response = Response::new(Body::from("no healthy upstream"));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;

    let (headers, body) = call.respond(response).await;

    assert_eq!(headers["grpc-status"], "14");
    assert_eq!(headers["grpc-message"], "no healthy upstream");
    assert_eq!(headers["content-type"], "application/grpc-web+proto");
    assert_eq!(headers["content-length"], "0");
    assert!(body.is_empty());
}

#[tokio::test]
async fn a_response_without_messages_keeps_its_status_in_the_head() {
    let call = Translated::of(&[BINARY], "");
    let response = Response::builder().header("content-type", "application/grpc");
    let response = response.header("grpc-status", "5").body(Body::empty());

    let (headers, body) = call.respond(response.unwrap()).await;

    assert_eq!(headers["grpc-status"], "5");
    assert!(body.is_empty());
}

#[test]
fn other_requests_are_not_changed() {
    for media_type in [
        "application/grpc",
        "application/grpc-web+json",
        "application/grpc-website",
        "application/json",
    ] {
        let call = Translated::of(
            &[("content-type", media_type), ("content-length", "2")],
            "{}",
        );

        assert_eq!(call.headers["content-type"], media_type);
        assert_eq!(call.headers["content-length"], "2");
        assert!(call.effects.is_empty());
    }
}
