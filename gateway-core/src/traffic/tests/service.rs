//! Forwarding as a tower service.

use tower::ServiceExt;

use super::backend::Backend;
use super::*;
use crate::filter::{HeaderEdit, HeaderEdits, PathEdit, Redirect, RedirectStatus, Rewrite};
use crate::plan::Filter;
use crate::traffic::ForwardService;

fn set(name: &'static str, value: &'static str) -> HeaderEdits {
    let name = http::HeaderName::from_static(name);
    let value = http::HeaderValue::from_static(value);
    HeaderEdits(vec![HeaderEdit::Set(name.into(), value.into())])
}

#[tokio::test]
async fn the_service_applies_filters_and_forwards() {
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
    rig.clusters
        .update(&Endpoints::from([(id("a"), endpoints(&[backend.address]))]));
    let response = forward.oneshot(post("body")).await.unwrap();

    assert_eq!(response.headers()["x-response"], "edited");
    assert_eq!(read(response).await, (200, "ok".to_owned()));
    assert!(backend.seen()[0].contains("x-request: edited\r\n"));
    assert_eq!(rig.observer.count("UpstreamConnected"), 1);
}

#[tokio::test]
async fn rewrites_are_applied_and_unsupported_filters_fail_closed() {
    let backend = Backend::plain("ok").await;
    let rewrite = |path| Rewrite {
        hostname: Some("new.test".to_owned()),
        path: Some(path),
    };
    let redirect = Redirect {
        scheme: None,
        hostname: None,
        port: None,
        path: None,
        status: RedirectStatus::Found,
    };
    for (filter, status) in [
        (
            Filter::Rewrite(rewrite(PathEdit::Full("/new".to_owned()))),
            200,
        ),
        (
            Filter::Rewrite(rewrite(PathEdit::Prefix("/new".to_owned()))),
            500,
        ),
        (Filter::Redirect(redirect), 500),
    ] {
        let mut share = super::backend(1, service("a", BackendProtocol::Http1));
        share.filters = vec![filter];
        let rig = Rig::with(Traffic::default(), &[share]);
        rig.clusters
            .update(&Endpoints::from([(id("a"), endpoints(&[backend.address]))]));
        let forward = ForwardService::new(Arc::new(rig.forwarder));

        let response = forward.oneshot(get("/old?q")).await.unwrap();

        assert_eq!(response.status(), status);
    }
    assert_eq!(backend.seen().len(), 1);
    assert!(backend.seen()[0].starts_with("GET /new?q HTTP/1.1\r\nhost: new.test\r\n"));
}
