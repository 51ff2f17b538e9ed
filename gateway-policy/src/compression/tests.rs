//! Tests of [`ResponseCompression`] over requests and responses in memory.

use std::convert::Infallible;
use std::io::Read;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use towergate_core::policy::{BuiltPolicy, PolicyLayer};

use super::*;

fn policy(codings: &[ContentCoding]) -> ResponseCompression {
    let compressors = codings.iter().map(|coding| Compressor {
        coding: *coding,
        min_length: MIN_LENGTH,
    });
    ResponseCompression {
        compressors: compressors.collect(),
    }
}

fn get() -> http::request::Builder {
    Request::get("/").header(ACCEPT_ENCODING, "gzip")
}

/// The response to `request` if the backend returns `response`. Only a gRPC backend receives `Accept-Encoding`.
async fn forward(
    policy: ResponseCompression,
    request: http::request::Builder,
    response: Response<Body>,
) -> Response<Body> {
    let response = Arc::new(Mutex::new(Some(response)));
    let backend = service_fn(move |request: Request<Body>| {
        let headers = request.headers();
        assert!(headers.contains_key("te") || !headers.contains_key(ACCEPT_ENCODING));
        let response = response.lock().unwrap().take().unwrap();
        async move { Ok::<_, Infallible>(response) }
    });
    let service = PolicyLayer::new(BuiltPolicy::body(policy)).layer(backend);
    let request = request.body(Body::empty()).unwrap();
    service.oneshot(request).await.unwrap()
}

fn text(length: usize) -> http::response::Builder {
    Response::builder()
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(CONTENT_LENGTH, length)
}

fn decode(coding: ContentCoding, data: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    match coding {
        ContentCoding::Gzip => {
            let mut decoder = flate2::read::GzDecoder::new(data);
            decoder.read_to_end(&mut text).map(|_| ())
        }
        ContentCoding::Brotli => {
            let mut decoder = brotli::Decompressor::new(data, 4096);
            decoder.read_to_end(&mut text).map(|_| ())
        }
        ContentCoding::Zstd => zstd::stream::copy_decode(data, &mut text),
    }
    .unwrap();
    text
}

#[tokio::test]
async fn a_response_is_compressed_in_each_coding() {
    let body = "all work and no play ".repeat(5000);
    for coding in [
        ContentCoding::Gzip,
        ContentCoding::Brotli,
        ContentCoding::Zstd,
    ] {
        let request = Request::get("/").header(ACCEPT_ENCODING, coding.name());
        let response = text(body.len()).body(Body::from(body.clone())).unwrap();

        let response = forward(policy(&[coding]), request, response).await;

        assert_eq!(response.headers()[CONTENT_ENCODING], coding.name());
        assert_eq!(response.headers()[VARY], "Accept-Encoding");
        assert!(!response.headers().contains_key(CONTENT_LENGTH));
        let data = response.into_body().collect().await.unwrap().to_bytes();
        assert!(data.len() < body.len() / 50, "{} bytes", data.len());
        assert_eq!(decode(coding, &data), body.as_bytes());
    }
}

#[tokio::test]
async fn responses_that_cannot_be_compressed_are_unchanged() {
    let body = || Body::from("x".repeat(500));
    for response in [
        text(500).header(CONTENT_ENCODING, "br"),
        text(500).header(CACHE_CONTROL, "public, No-Transform"),
        text(500).header("repr-digest", "sha-256=:x:"),
        text(29),
        Response::builder().header(CONTENT_TYPE, "application/wasm"),
        Response::builder().header(CONTENT_TYPE, "text/event-stream"),
        Response::builder().header(CONTENT_TYPE, "application/grpc"),
    ] {
        let response = response.body(body()).unwrap();
        let before = response.headers().clone();

        let response = forward(policy(&[ContentCoding::Gzip]), get(), response).await;

        assert_eq!(*response.headers(), before);
    }
}

#[tokio::test]
async fn responses_without_a_whole_body_or_an_accepted_coding_vary_only() {
    let body = || Body::from("x".repeat(500));
    let requests = [
        (
            Request::head("/").header(ACCEPT_ENCODING, "gzip"),
            text(500),
            Body::empty(),
        ),
        (get(), Response::builder().status(204), Body::empty()),
        (
            get(),
            text(500).status(206).header(CONTENT_RANGE, "bytes 0-499/9"),
            body(),
        ),
        (
            Request::get("/").header(ACCEPT_ENCODING, "br"),
            text(500),
            body(),
        ),
        (Request::get("/"), text(500), body()),
    ];
    for (request, response, body) in requests {
        let response = response.body(body).unwrap();
        let length = response.headers().get(CONTENT_LENGTH).cloned();

        let response = forward(policy(&[ContentCoding::Gzip]), request, response).await;

        assert_eq!(response.headers()[VARY], "Accept-Encoding");
        assert!(!response.headers().contains_key(CONTENT_ENCODING));
        assert_eq!(response.headers().get(CONTENT_LENGTH), length.as_ref());
    }
}

#[tokio::test]
async fn a_weak_tag_is_kept_and_a_strong_one_removed() {
    for (tag, kept) in [("\"a\"", false), ("W/\"a\"", true)] {
        let response = text(500).header(ETAG, tag).header(VARY, "origin");
        let response = response.body(Body::from("x".repeat(500))).unwrap();

        let response = forward(policy(&[ContentCoding::Gzip]), get(), response).await;

        assert_eq!(response.headers().contains_key(ETAG), kept);
        assert_eq!(response.headers()[VARY], "origin, Accept-Encoding");
    }
}

#[tokio::test]
async fn ranges_are_offered_only_for_a_body_that_is_not_compressed() {
    for (accepted, kept) in [("gzip", false), ("br", true)] {
        let request = Request::get("/").header(ACCEPT_ENCODING, accepted);
        let response = text(500).header(ACCEPT_RANGES, "bytes");
        let response = response.body(Body::from("x".repeat(500))).unwrap();

        let response = forward(policy(&[ContentCoding::Gzip]), request, response).await;

        assert_eq!(response.headers().contains_key(ACCEPT_RANGES), kept);
    }
}

#[tokio::test]
async fn a_minimum_length_above_that_of_the_response_leaves_it_alone() {
    let mut minimum = policy(&[ContentCoding::Gzip]);
    minimum.compressors[0].min_length = 1024;
    let response = text(1023).body(Body::from("x".repeat(1023))).unwrap();

    let response = forward(minimum, get(), response).await;

    assert!(!response.headers().contains_key(CONTENT_ENCODING));
}

#[tokio::test]
async fn a_response_that_is_too_short_for_the_chosen_coding_only_varies_by_it() {
    let mut policy = policy(&[ContentCoding::Gzip, ContentCoding::Zstd]);
    policy.compressors[1].min_length = 1024;
    for (accepted, coding) in [("gzip", Some("gzip")), ("zstd", None), ("br", None)] {
        let request = Request::get("/").header(ACCEPT_ENCODING, accepted);
        let response = text(500).body(Body::from("x".repeat(500))).unwrap();

        let response = forward(policy.clone(), request, response).await;

        let found = response.headers().get(CONTENT_ENCODING);
        assert_eq!(found.map(|value| value.to_str().unwrap()), coding);
        assert_eq!(response.headers()[VARY], "Accept-Encoding", "{accepted}");
    }
}

#[tokio::test]
async fn the_accept_encoding_of_grpc_reaches_the_backend() {
    let request = get()
        .header(CONTENT_TYPE, "application/grpc")
        .header("te", "trailers");
    let response = text(500).body(Body::from("x".repeat(500))).unwrap();

    let response = forward(policy(&[ContentCoding::Gzip]), request, response).await;

    assert!(!response.headers().contains_key(VARY));
}

#[tokio::test]
async fn what_a_stream_has_sent_is_never_held_back() {
    for coding in [
        ContentCoding::Gzip,
        ContentCoding::Brotli,
        ContentCoding::Zstd,
    ] {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
        let frames = futures_util::stream::unfold(receiver, |mut receiver| async {
            let data = receiver.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(data)), receiver))
        });
        let encoder = Encoder::new(coding).unwrap();
        let mut body = EncodedBody::new(Body::new(StreamBody::new(frames)), encoder);
        let mut received = Vec::new();

        for event in ["first", "second"] {
            sender.send(Bytes::from(event)).unwrap();
            let frame = body.frame().await.unwrap().unwrap();
            received.extend(frame.into_data().unwrap());
            assert!(partly_decoded(coding, &received).ends_with(event.as_bytes()));
        }
        drop(sender);

        received.extend(body.collect().await.unwrap().to_bytes());
        assert_eq!(decode(coding, &received), b"firstsecond");
    }
}

/// The text that a client can decode from a stream that has not ended.
fn partly_decoded(coding: ContentCoding, data: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut decoder: Box<dyn Read> = match coding {
        ContentCoding::Gzip => Box::new(flate2::read::GzDecoder::new(data)),
        ContentCoding::Brotli => Box::new(brotli::Decompressor::new(data, 4096)),
        ContentCoding::Zstd => Box::new(zstd::stream::read::Decoder::new(data).unwrap()),
    };
    let mut byte = [0];
    while matches!(decoder.read(&mut byte), Ok(1)) {
        text.push(byte[0]);
    }
    text
}

#[tokio::test]
async fn trailers_follow_the_compressed_data() {
    let trailers = HeaderMap::from_iter([(ETAG, HeaderValue::from_static("\"x\""))]);
    let frames = [
        Ok::<_, Infallible>(Frame::data(Bytes::from("data"))),
        Ok(Frame::trailers(trailers.clone())),
    ];
    let inner = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
    let body = EncodedBody::new(inner, Encoder::new(ContentCoding::Gzip).unwrap());

    let collected = body.collect().await.unwrap();

    assert_eq!(collected.trailers(), Some(&trailers));
    assert_eq!(decode(ContentCoding::Gzip, &collected.to_bytes()), b"data");
}
