//! Forwarding as a tower service.

use tower::ServiceExt;

use super::backend::Backend;
use super::*;
use crate::filter::{Filter, HeaderEdit, HeaderEdits};
use crate::traffic::ForwardService;

fn set(name: &'static str, value: &'static str) -> HeaderEdits {
    let name = http::HeaderName::from_static(name);
    let value = http::HeaderValue::from_static(value);
    HeaderEdits(vec![HeaderEdit::Set(name.into(), value.into())])
}

#[tokio::test]
async fn the_service_edits_forwards_and_answers() {
    let backend = Backend::plain("ok").await;
    let mut share = super::backend(1, service("a", BackendProtocol::Http1));
    share.filters = vec![
        Filter::RequestHeaders(set("x-request", "edited")),
        Filter::ResponseHeaders(set("x-response", "edited")),
    ];
    let rig = Rig::with(Traffic::default(), &[share]);
    let forward = ForwardService::new(Arc::new(rig.forwarder)).observed(rig.observer.clone());

    let empty = forward.clone().oneshot(get("/")).await.unwrap();
    assert_eq!(read(empty).await, (503, String::new()));
    rig.directory
        .update(&Endpoints::from([(id("a"), endpoints(&[backend.address]))]));
    let response = forward.oneshot(post("body")).await.unwrap();

    assert_eq!(response.headers()["x-response"], "edited");
    assert_eq!(read(response).await, (200, "ok".to_owned()));
    assert!(backend.seen()[0].contains("x-request: edited\r\n"));
    assert_eq!(rig.observer.count("UpstreamConnected"), 1);
}
