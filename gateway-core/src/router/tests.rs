//! Tests of exchanges and bodies without a connection.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::poll_immediate;
use futures_util::{Stream, StreamExt, stream};
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::Shared;
use super::exchange::Exchange;
use super::inbound::asks_keep_alive;
use super::request_body::{Progress, RequestBody, Trailers};
use super::request_context::invalid_backend_reply;
use super::response_body::finish;
use super::timers::StreamTimeouts;
use crate::access_log::{AccessLog, Entry};
use crate::body::BoxError;
use crate::conn::ConnectionAddrs;
use crate::conn::{ConnInfo, Drain};
use crate::http::settings::{ListenerSettings, Underscores};
use crate::plan::{ListenerId, RouteKind};
use crate::policy::RejectedBody;
use crate::{Body, Error};

type Item = Result<Frame<Bytes>, BoxError>;

#[derive(Default)]
struct Log(Mutex<Vec<Entry>>);

impl AccessLog for Log {
    fn write(&self, entry: &Entry) {
        self.0.lock().unwrap().push(entry.clone());
    }
}

impl Log {
    /// Status, flags and details of the single entry.
    fn only(&self) -> (u16, String, String) {
        let entries = self.0.lock().unwrap();
        assert_eq!(entries.len(), 1);
        let entry = &entries[0];
        let status = entry.status.map_or(0, |status| status.as_u16());
        (status, entry.flags.to_string(), entry.details.to_string())
    }
}

fn exchange(log: &Arc<Log>) -> Box<Exchange> {
    let shared = Arc::new(Shared {
        handle: Arc::default(),
        observer: Arc::new(()),
        access_log: Some(log.clone()),
        drain: Drain::new(),
    });
    let ends = ConnectionAddrs::of_tcp(([127, 0, 0, 1], 7).into(), ([127, 0, 0, 1], 80).into());
    let conn = ConnInfo::new(ends, 0, 80, None);
    let (head, ()) = Request::get("/a").body(()).unwrap().into_parts();
    Exchange::new(&shared, &Arc::new(ListenerId::default()), &conn, &head)
}

fn settings() -> ListenerSettings {
    let mut settings = ListenerSettings::default();
    settings.timeouts.stream_idle = Some(Duration::from_secs(3));
    settings
}

fn data(text: &'static str) -> Item {
    Ok(Frame::data(text.into()))
}

fn trailers(name: &'static str) -> Item {
    let mut fields = HeaderMap::new();
    fields.insert(name, HeaderValue::from_static("1"));
    Ok(Frame::trailers(fields))
}

fn body(frames: impl Stream<Item = Item> + Send + 'static) -> Body {
    Body::new(StreamBody::new(frames))
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_stalls_in_mid_body_is_cut_off_after_the_idle_time() {
    let log = Arc::default();
    let slow = stream::iter(0..3).then(|_| async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        data("x")
    });
    let stalls = slow.chain(stream::pending());
    let mut exchange = exchange(&log);
    exchange.timeouts = StreamTimeouts::new(&settings());
    let response = finish(exchange, Response::new(body(stalls)), &settings());
    let started = tokio::time::Instant::now();

    let mut body = response.into_body();
    for _ in 0..3 {
        assert!(body.frame().await.unwrap().is_ok());
    }
    let end = body.frame().await.unwrap();

    assert!(end.is_err());
    assert_eq!(started.elapsed().as_secs(), 2 * 3 + 3);
    let expected = (200, "SI".to_owned(), "stream_idle_timeout".to_owned());
    assert_eq!(log.only(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_body_is_cut_off_at_the_end_of_its_stream_although_it_moves() {
    let log = Arc::default();
    let steady = stream::repeat(()).then(|()| async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        data("x")
    });
    let mut settings = settings();
    settings.limits.max_stream_duration = Some(Duration::from_secs(5));
    let mut exchange = exchange(&log);
    exchange.timeouts = StreamTimeouts::new(&settings);
    let started = tokio::time::Instant::now();

    let mut body = finish(exchange, Response::new(body(steady)), &settings).into_body();
    assert!(body.frame().await.unwrap().is_ok());
    assert!(body.frame().await.unwrap().is_ok());
    let end = body.frame().await.unwrap();

    assert!(end.is_err());
    assert_eq!(started.elapsed().as_secs(), 5);
    let expected = (200, String::new(), "max_duration_timeout".to_owned());
    assert_eq!(log.only(), expected);
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_stream_that_took_too_long_goes_out() {
    let log = Arc::default();
    let mut exchange = exchange(&log);
    exchange.timeouts.deadline = Some(tokio::time::Instant::now());
    tokio::time::advance(Duration::from_secs(1)).await;

    let response = finish(exchange, Response::new("late".into()), &settings());

    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "late");
}

#[tokio::test]
async fn what_came_before_an_error_is_sent_before_it() {
    let log = Arc::default();
    let cut = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let frames = stream::iter([data("ok"), Err(cut.into())]);
    let response = finish(exchange(&log), Response::new(body(frames)), &settings());
    let mut body = response.into_body();

    assert!(body.frame().await.unwrap().is_ok());
    let pause = {
        let mut next = pin!(body.frame());
        futures_util::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_pending())).await
    };

    assert!(pause, "the codec gets the chance to send what it has");
    assert!(body.frame().await.unwrap().is_err());
    let details = "upstream_reset_after_response_started{protocol_error}";
    assert_eq!(log.only(), (200, "UPE".to_owned(), details.to_owned()));
}

#[tokio::test]
async fn a_client_that_leaves_in_mid_body_is_told_from_one_that_gets_all() {
    let (left, done) = (Arc::default(), Arc::default());
    let frames = || body(stream::iter([data("ok"), trailers("x-t")]));

    drop(finish(
        exchange(&left),
        Response::new(frames()),
        &settings(),
    ));
    let response = finish(exchange(&done), Response::new(frames()), &settings());
    let collected = response.into_body().collect().await.unwrap();

    assert_eq!(collected.to_bytes(), "ok");
    assert_eq!(left.only().1, "DC");
    assert_eq!(done.only(), (200, String::new(), "via_upstream".to_owned()));
}

#[tokio::test]
async fn trailers_pass_where_they_are_enabled_and_without_what_must_not_trail() {
    let fields = || stream::iter([data("ok"), trailers("x-t")]);
    let framing = stream::iter([data("ok"), trailers("content-length")]);
    let read = |body: Body, trailers| async move {
        let body = RequestBody::new(body, Arc::default(), trailers);
        let all = body.collect().await.unwrap();
        all.trailers().map(HeaderMap::len)
    };

    assert_eq!(read(body(fields()), Trailers::Pass).await, Some(1));
    assert_eq!(read(body(fields()), Trailers::Drop).await, None);
    assert_eq!(read(body(framing), Trailers::Pass).await, Some(0));
}

#[tokio::test]
async fn forwarded_trailers_of_a_request_are_checked_as_its_head() {
    for (http2, trailers_mode, underscores, expected) in [
        (
            false,
            Trailers::Pass,
            Underscores::Reject,
            Err("http1.unexpected_underscore"),
        ),
        (
            true,
            Trailers::Pass,
            Underscores::Reject,
            Err("http2.unexpected_underscore"),
        ),
        (true, Trailers::Pass, Underscores::Drop, Ok(Some(0))),
        (true, Trailers::Pass, Underscores::Allow, Ok(Some(1))),
        (false, Trailers::Drop, Underscores::Reject, Ok(None)),
    ] {
        let fields = body(stream::iter([data("ok"), trailers("x_t")]));
        let mut request = RequestBody::new(fields, Arc::default(), trailers_mode)
            .underscores(underscores)
            .http2(http2);

        request.frame().await.unwrap().unwrap();
        let read = match &request.frame().await {
            Some(Ok(frame)) => Ok(frame.trailers_ref().map(HeaderMap::len)),
            Some(Err(error)) => Err(error
                .downcast_ref::<RejectedBody>()
                .unwrap()
                .0
                .details
                .to_string()),
            None => Ok(None),
        };
        let expected = expected.map_err(str::to_owned);
        assert_eq!(read, expected, "{http2} {trailers_mode:?} {underscores:?}");
    }
}

#[tokio::test]
async fn a_small_request_that_nobody_read_is_read_after_all() {
    let request = |frames: Vec<Item>, more: bool| {
        let progress = Arc::<Progress>::default();
        let more = stream::pending().take(usize::from(more));
        let body = body(stream::iter(frames).chain(more));
        drop(RequestBody::new(body, progress.clone(), Trailers::Drop));
        progress
    };
    let whole = request(vec![data("ok")], false);
    let waits = request(vec![data("ok")], true);
    let broken = request(vec![Err("bad chunk".into())], false);
    let large = request((0..100).map(|_| data(LARGE)).collect(), false);

    for progress in [&whole, &waits, &broken, &large] {
        assert!(!progress.complete());
        progress.drain_body().await;
    }

    assert!(whole.complete());
    assert!(!waits.complete() && !broken.complete() && !large.complete());
    assert_eq!(whole.bytes(), 2);
}

const LARGE: &str = include_str!("mod.rs");

#[tokio::test]
async fn what_is_left_of_an_answered_request_is_dropped() {
    let progress = Arc::<Progress>::default();
    let (alive, gone) = tokio::sync::oneshot::channel::<()>();
    let frames = stream::once(async move {
        let _ = gone.await;
        data("x")
    });
    let request = RequestBody::new(body(frames), progress.clone(), Trailers::Drop);

    drop(request);
    assert!(!alive.is_closed());
    progress.end_body(false);

    assert!(alive.is_closed());
}

#[tokio::test]
async fn a_request_for_another_protocol_is_never_complete() {
    let log = Arc::default();
    let mut exchange = exchange(&log);

    assert!(exchange.request_complete());
    exchange.note_switching();
    assert!(poll_immediate(exchange.drain_request()).await.is_some());

    assert!(!exchange.request_complete());
}

#[test]
fn a_client_of_http_1_0_asks_to_keep_the_connection() {
    for (line, expected) in [
        ("keep-alive", true),
        ("x, Keep-Alive", true),
        ("close", false),
        ("keep-alives", false),
    ] {
        let headers = HeaderMap::from_iter([(CONNECTION, HeaderValue::from_static(line))]);
        assert_eq!(asks_keep_alive(&headers), expected, "{line}");
    }
    assert!(!asks_keep_alive(&HeaderMap::new()));
}

#[test]
fn calls_of_a_grpcroute_to_an_invalid_backend_are_unavailable() {
    for error in [Error::InvalidBackend, Error::InvalidShare] {
        let status = |kind| {
            let reply = invalid_backend_reply(&error, kind);
            let response: Response<Bytes> = reply.into_response(true);
            response.headers()["grpc-status"].clone()
        };

        assert_eq!(status(RouteKind::Grpc), "14");
        assert_eq!(status(RouteKind::Http), "2");
    }
}
