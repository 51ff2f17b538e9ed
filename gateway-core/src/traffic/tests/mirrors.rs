//! Request mirroring.

use tokio::sync::mpsc::UnboundedSender;

use super::backend::{Backend, Step, answer};
use super::*;
use crate::plan;
use crate::plan::{Filter, Fraction, Mirror};
use crate::traffic::mirror::{MIRROR_BUFFER, Mirrors};

type Frames = UnboundedSender<Result<Bytes, std::io::Error>>;

/// A rule with the backend `a` and mirrors.
struct Mirrored {
    rig: Rig,
    mirrors: Mirrors,
}

fn mirror(name: &str) -> Filter {
    let Destination::Backend(backend) = service(name, BackendProtocol::Http1) else {
        unreachable!("service() returns a backend");
    };
    let fraction = Fraction::ALL;
    Filter::Mirror(Mirror { backend, fraction })
}

impl Mirrored {
    fn new(traffic: Traffic, main: SocketAddr, mirrors: &[SocketAddr]) -> Self {
        let rig = Rig::new(traffic.clone(), &[main]);
        let names: Vec<_> = (0..mirrors.len()).map(|n| format!("mirror-{n}")).collect();
        let mut addresses = Endpoints::from([(id("a"), endpoints(&[main]))]);
        for (name, address) in names.iter().zip(mirrors) {
            addresses.insert(id(name), endpoints(&[*address]));
        }
        let filters: Vec<_> = names.iter().map(|name| mirror(name)).collect();
        let provider = towergate_tls::default_provider();
        let mirrors = Mirrors::new(&"rule", &filters, &traffic, &rig.live, &provider);
        rig.clusters.update(&addresses);
        Self { rig, mirrors }
    }

    /// Sends copies of a request to the mirrors, then the request itself to its backend.
    async fn forward(&self, request: Request<Body>) -> Result<Forwarded, ForwardError> {
        let observer: Arc<dyn Observer> = self.rig.observer.clone();
        let context = ForwardContext {
            client: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            observer: &observer,
            envoy_headers: false,
            preserve_header_case: false,
            upgrade: None,
            connection: None,
        };
        let (head, body) = request.into_parts();
        let body = self.mirrors.send(&context, &head, body);
        self.rig.forward(Request::from_parts(head, body)).await
    }

    async fn fetch(&self, request: Request<Body>) -> (u16, String) {
        read(self.forward(request).await.unwrap().response).await
    }

    fn count(&self, name: &str) -> usize {
        self.rig.observer.count(name)
    }
}

fn unread() -> Vec<Vec<Step>> {
    vec![vec![Step::Hang]]
}

fn upload() -> (Frames, Request<Body>) {
    let (frames, body) = streamed();
    (frames, post(body))
}

/// An address without a listener.
async fn closed_address() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn every_mirror_receives_head_and_body_and_its_response_is_discarded() {
    let main = Backend::plain("main").await;
    let (one, two) = (
        Backend::plain("one").await,
        Backend::start(vec![vec![answer(500, "two")]]).await,
    );
    let rule = Mirrored::new(
        Traffic::default(),
        main.address,
        &[one.address, two.address],
    );

    let whole = rule.fetch(post("hello")).await;
    let (frames, request) = upload();
    for part in ["he", "llo"] {
        frames.send(Ok(part.into())).unwrap();
    }
    drop(frames);
    let chunked = rule.fetch(request).await;
    let none = rule.fetch(get("/path?q=1")).await;

    assert_eq!(
        [whole, chunked, none],
        [(); 3].map(|()| (200, "main".to_owned()))
    );
    until(|| rule.count("Mirrored") == 6).await;
    let sorted = |backend: &Backend| {
        let mut seen = backend.seen();
        seen.sort();
        seen
    };
    assert_eq!(sorted(&one), sorted(&main));
    assert_eq!(sorted(&two), sorted(&main));
    assert!(main.seen()[0].ends_with("\r\n\r\nhello"));
    assert!(main.seen()[2].starts_with("GET /path?q=1 HTTP/1.1\r\nhost: a.test\r\n"));
}

#[tokio::test]
async fn connections_to_a_mirror_are_reused() {
    let (main, copy) = (Backend::plain("main").await, Backend::plain("copy").await);
    let rule = Mirrored::new(Traffic::default(), main.address, &[copy.address]);

    for sent in 1..=20 {
        rule.fetch(get("/")).await;
        until(|| rule.count("Mirrored") == sent).await;
    }

    assert!(copy.accepts() < 20);
}

#[tokio::test]
async fn an_unreachable_mirror_is_only_reported() {
    let main = Backend::plain("main").await;
    let rule = Mirrored::new(Traffic::default(), main.address, &[closed_address().await]);

    for request in [get("/"), post("hello")] {
        assert_eq!(rule.fetch(request).await, (200, "main".to_owned()));
    }

    until(|| rule.count("MirrorFailed") == 2).await;
    assert_eq!(rule.count("Mirrored"), 0);
}

/// A backend that never reads.
async fn never_reading() -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    (address, task)
}

#[tokio::test]
async fn a_copy_that_falls_behind_is_aborted_and_the_request_continues() {
    let main = Backend::plain("main").await;
    let (address, _deaf) = never_reading().await;
    let rule = Mirrored::new(Traffic::default(), main.address, &[address]);
    let (frames, request) = upload();
    // More data than the socket buffers and the mirror's buffer can hold.
    let part = Bytes::from(vec![b'x'; MIRROR_BUFFER / 4]);
    for _ in 0..200 {
        frames.send(Ok(part.clone())).unwrap();
    }
    drop(frames);

    assert_eq!(rule.fetch(request).await, (200, "main".to_owned()));

    until(|| rule.count("MirrorFailed") == 1).await;
    assert!(main.seen()[0].len() > 200 * part.len());
}

#[tokio::test]
async fn a_copy_ends_with_the_request_timeout_of_the_rule() {
    let (main, copy) = (Backend::plain("main").await, Backend::start(unread()).await);
    let traffic = Traffic {
        request_timeout: Some(Duration::from_millis(100)),
        ..Traffic::default()
    };
    let rule = Mirrored::new(traffic, main.address, &[copy.address]);

    assert_eq!(rule.fetch(post("hello")).await, (200, "main".to_owned()));

    until(|| rule.count("MirrorFailed") == 1).await;
}

#[tokio::test]
async fn aborting_a_request_aborts_its_copies() {
    let main = Backend::plain("main").await;
    let copy = Backend::plain("copy").await;
    let rule = Mirrored::new(Traffic::default(), main.address, &[copy.address]);
    let (frames, request) = upload();
    frames.send(Ok("he".into())).unwrap();

    {
        let mut asking = std::pin::pin!(rule.forward(request));
        tokio::select! {
            _ = &mut asking => panic!("the request is not complete"),
            () = until(|| copy.accepts() == 1) => {}
        }
    }

    until(|| rule.count("MirrorFailed") == 1).await;
    assert!(copy.seen().is_empty());
}

#[tokio::test]
async fn the_request_limit_applies_to_copies() {
    let (main, copy) = (Backend::plain("main").await, Backend::start(unread()).await);
    let traffic = Traffic {
        breaker: plan::Breaker {
            requests: 2,
            ..plan::Breaker::default()
        },
        ..Traffic::default()
    };
    let rule = Mirrored::new(traffic, main.address, &[copy.address]);

    for _ in 0..5 {
        assert_eq!(rule.fetch(get("/")).await, (200, "main".to_owned()));
    }

    until(|| rule.count("MirrorFailed") == 3).await;
    assert_eq!(rule.count("Overflowed"), 3);
    until(|| copy.accepts() == 2).await;
}

#[tokio::test]
async fn copies_are_not_retried() {
    let main = Backend::start(vec![vec![answer(503, "no")], vec![answer(200, "main")]]).await;
    let copy = Backend::start(vec![vec![answer(503, "no")]]).await;
    let traffic = Traffic {
        retry: Some(plan::Retry {
            attempts_per_priority: None,
            retries: 1,
            on: plan::RetryOn {
                statuses: vec![503],
                ..Default::default()
            },
            base_interval: Duration::from_millis(1),
            min_interval: Duration::ZERO,
            max_interval: None,
            attempt_timeout: None,
        }),
        ..Traffic::default()
    };
    let rule = Mirrored::new(traffic, main.address, &[copy.address]);

    assert_eq!(rule.fetch(post("hello")).await, (200, "main".to_owned()));

    until(|| rule.count("Mirrored") == 1).await;
    assert_eq!((main.seen().len(), copy.seen().len()), (2, 1));
    assert!(copy.seen()[0].ends_with("hello"));
}
