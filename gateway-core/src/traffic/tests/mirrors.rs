//! Copies of requests, which never touch the request itself.

use tokio::sync::mpsc::UnboundedSender;

use super::backend::{Backend, Step, answer};
use super::*;
use crate::plan;
use crate::plan::{Filter, Fraction, Mirror};
use crate::traffic::mirror::{LIMIT, Mirrors};

type Frames = UnboundedSender<Result<Bytes, std::io::Error>>;

/// A rule with the backend `a` and mirrors.
struct Mirrored {
    rig: Rig,
    mirrors: Mirrors,
}

fn mirror(name: &str) -> Filter {
    let Destination::Backend(backend) = service(name, BackendProtocol::Http1) else {
        unreachable!("a service is a backend");
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
        rig.directory.update(&addresses);
        Self { rig, mirrors }
    }

    /// Sends copies of a request, then the request.
    async fn forward(&self, request: Request<Body>) -> Result<Forwarded, Failure> {
        let observer: Arc<dyn Observer> = self.rig.observer.clone();
        let context = ForwardContext {
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            observer: &observer,
            envoy_headers: false,
            preserve_header_case: false,
            upgrade: None,
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

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn every_mirror_gets_head_and_body_and_its_answer_is_dropped() {
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
async fn connections_to_a_mirror_are_used_again() {
    let (main, copy) = (Backend::plain("main").await, Backend::plain("copy").await);
    let rule = Mirrored::new(Traffic::default(), main.address, &[copy.address]);

    for sent in 1..=20 {
        rule.fetch(get("/")).await;
        until(|| rule.count("Mirrored") == sent).await;
    }

    assert!(copy.accepts() < 20);
}

#[tokio::test]
async fn a_mirror_that_is_down_is_told_and_nothing_else() {
    let main = Backend::plain("main").await;
    let rule = Mirrored::new(Traffic::default(), main.address, &[nobody().await]);

    for request in [get("/"), post("hello")] {
        assert_eq!(rule.fetch(request).await, (200, "main".to_owned()));
    }

    until(|| rule.count("MirrorFailed") == 2).await;
    assert_eq!(rule.count("Mirrored"), 0);
}

/// A backend that reads nothing at all.
async fn deaf() -> (SocketAddr, tokio::task::JoinHandle<()>) {
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
async fn a_mirror_that_falls_behind_is_cut_off_and_the_request_goes_on() {
    let main = Backend::plain("main").await;
    let (address, _deaf) = deaf().await;
    let rule = Mirrored::new(Traffic::default(), main.address, &[address]);
    let (frames, request) = upload();
    // More than the system's buffers and ours hold.
    let part = Bytes::from(vec![b'x'; LIMIT / 4]);
    for _ in 0..200 {
        frames.send(Ok(part.clone())).unwrap();
    }
    drop(frames);

    assert_eq!(rule.fetch(request).await, (200, "main".to_owned()));

    until(|| rule.count("MirrorFailed") == 1).await;
    assert!(main.seen()[0].len() > 200 * part.len());
}

#[tokio::test]
async fn a_mirror_that_never_answers_is_left_after_the_rules_time() {
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
async fn a_request_that_is_given_up_takes_its_copies_with_it() {
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
async fn no_more_copies_are_under_way_than_the_rule_may_have_requests() {
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
async fn retries_are_of_the_request_and_not_of_the_copy() {
    let main = Backend::start(vec![vec![answer(503, "no")], vec![answer(200, "main")]]).await;
    let copy = Backend::start(vec![vec![answer(503, "no")]]).await;
    let traffic = Traffic {
        retry: Some(plan::Retry {
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
