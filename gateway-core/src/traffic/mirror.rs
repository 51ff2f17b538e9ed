//! Copies of requests for other backends, which never touch the request itself.
//!
//! ```text
//! client ──> Tee ──> the rule's backend ──> the answer
//!             └────> a task of its own ──> the mirror ──> read and dropped
//! ```
//!
//! A copy has the head that the rule's backend gets, and the body as that backend reads it. It is sent
//! once, by a task of its own with the time, the breaker's limits and the connections of a rule; what
//! becomes of it is told to the observer only. The request waits for nothing:
//!
//! - What the mirror has not taken yet is kept up to [`LIMIT`]. One that falls further behind gets nothing
//!   more, and its connection is closed.
//! - A request that is given up before its body was read takes its copies with it.
//! - Once the client's request has been read, a copy has the rule's time for requests to be answered.
//!
//! Copies that are under way when the gateway ends go with it.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, request};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use towergate_tls::connector::CryptoProvider;

use super::breaker::Breaker;
use super::forward::{ForwardContext, Forwarder};
use crate::Body;
use crate::body::BoxError;
use crate::observer::{Event, Observer};
use crate::plan::{BackendId, LoadBalancer, Traffic};
use crate::plan::{Filter, Fraction};
use crate::snapshot::Live;

/// Bytes of a body that wait for a mirror.
pub const LIMIT: usize = 256 * 1024;
/// How long a copy may go without an answer where the rule sets no time, and an answer without progress.
const PATIENCE: Duration = Duration::from_secs(300);

/// The mirrors of a rule or of a backendRef.
#[derive(Clone, Debug, Default)]
pub struct Mirrors(Box<[Mirror]>);

/// A backend that gets copies.
#[derive(Clone, Debug)]
struct Mirror {
    fraction: Fraction,
    target: Arc<Target>,
}

#[derive(Debug)]
struct Target {
    id: BackendId,
    /// How long a copy may go without an answer.
    patience: Duration,
    forwarder: Box<dyn Forward>,
}

/// Forwards copies. A rule has a forwarder of its own and others in its mirrors; that these are behind a
/// trait keeps types from nesting so deeply that programs which embed the gateway need a `recursion_limit`.
trait Forward: fmt::Debug + Send + Sync {
    /// Resolves to the answer's body, if there is an answer.
    fn forward<'a>(
        &'a self,
        context: ForwardContext<'a>,
        request: Request<Body>,
    ) -> Pin<Box<dyn Future<Output = Option<Body>> + Send + 'a>>;
}

impl Forward for Forwarder {
    fn forward<'a>(
        &'a self,
        context: ForwardContext<'a>,
        request: Request<Body>,
    ) -> Pin<Box<dyn Future<Output = Option<Body>> + Send + 'a>> {
        Box::pin(async move {
            let forwarded = Self::forward(self, &context, request).await;
            forwarded
                .ok()
                .map(|forwarded| forwarded.response.into_body())
        })
    }
}

impl Mirrors {
    /// Those among `filters` of what is called `key`. Copies travel as the rule's `traffic` says.
    pub(crate) fn new<K>(
        key: &K,
        filters: &[Filter],
        traffic: &Traffic,
        live: &Live,
        provider: &Arc<CryptoProvider>,
    ) -> Self
    where
        K: Clone + Eq + Hash + Send + 'static,
    {
        let mut mirrors = Vec::new();
        for filter in filters {
            let Filter::Mirror(filter) = filter else {
                continue;
            };
            let limits = (
                MirrorKey(key.clone(), mirrors.len()),
                traffic.breaker.clone(),
            );
            let breaker = live.share(limits, |(_, limits)| Breaker::new(limits));
            let patience = traffic.request_timeout.unwrap_or(PATIENCE);
            let traffic = Arc::new(travel(traffic));
            let forwarder = Forwarder::to_one(&filter.backend, traffic, breaker, live, provider);
            mirrors.push(Mirror {
                fraction: filter.fraction,
                target: Arc::new(Target {
                    id: filter.backend.id.clone(),
                    patience,
                    forwarder: Box::new(forwarder),
                }),
            });
        }
        Self(mirrors.into())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sends copies of a request that is ready to be forwarded, to those mirrors that are drawn, and gives
    /// the body for the request itself. Must be called within a runtime.
    pub fn send(&self, context: &ForwardContext<'_>, head: &request::Parts, body: Body) -> Body {
        let selected = self.0.iter().filter(|mirror| mirror.fraction.pick());
        let targets: Vec<_> = selected.map(|mirror| mirror.target.clone()).collect();
        let mut copies = Vec::new();
        for target in targets {
            let (copy, read) = match body.is_end_stream() {
                true => (Body::empty(), None),
                false => {
                    let (sender, copy, read) = copied(&body);
                    copies.push(sender);
                    (Body::boxed(copy), Some(read))
                }
            };
            let sending = Sending {
                target,
                client: context.client,
                observer: context.observer.clone(),
                envoy_headers: context.envoy_headers,
                preserve_header_case: context.preserve_header_case,
            };
            let request = Request::from_parts(head.clone(), copy);
            tokio::spawn(sending.run(request, read));
        }
        match copies.is_empty() {
            true => body,
            false => Body::boxed(Tee { body, copies }),
        }
    }
}

/// Names the breaker of a mirror.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct MirrorKey<K>(K, usize);

/// A copy is sent once, to any endpoint, and never becomes a tunnel.
fn travel(traffic: &Traffic) -> Traffic {
    Traffic {
        retry: None,
        outlier: None,
        probe: None,
        upgrades: Vec::new(),
        load_balancer: LoadBalancer::default(),
        ..traffic.clone()
    }
}

/// A copy on its way.
struct Sending {
    target: Arc<Target>,
    client: std::net::IpAddr,
    observer: Arc<dyn Observer>,
    envoy_headers: bool,
    preserve_header_case: bool,
}

impl Sending {
    /// `read` ends when the client's request is read, or given up.
    async fn run(self, request: Request<Body>, read: Option<CancellationToken>) {
        let late = async {
            if let Some(read) = read {
                read.cancelled().await;
            }
            sleep(self.target.patience).await;
        };
        let answered = tokio::select! {
            biased;
            answered = self.forward(request) => answered,
            () = late => None,
        };
        let id = &self.target.id;
        self.observer.observe(&match answered {
            Some(_) => Event::Mirrored(id),
            None => Event::MirrorFailed(id),
        });
        if let Some(mut body) = answered {
            // Whoever sends very slowly, or nothing more, is left.
            while let Ok(Some(Ok(_))) = timeout(PATIENCE, body.frame()).await {}
        }
    }

    /// The answer's body, if there is an answer.
    async fn forward(&self, request: Request<Body>) -> Option<Body> {
        let context = ForwardContext {
            client: self.client,
            observer: &self.observer,
            envoy_headers: self.envoy_headers,
            preserve_header_case: self.preserve_header_case,
            upgrade: None,
        };
        self.target.forwarder.forward(context, request).await
    }
}

/// A piece of a copied body.
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

/// A request's body, of which copies are made as it is read.
struct Tee {
    body: Body,
    copies: Vec<Copied>,
}

/// The end of a copy at which pieces go in.
struct Copied {
    pieces: UnboundedSender<Piece>,
    /// Bytes that were not taken yet.
    waiting: Arc<AtomicUsize>,
    _read: DropGuard,
}

/// The end of a copy at which pieces come out.
struct CopyBody {
    pieces: UnboundedReceiver<Piece>,
    waiting: Arc<AtomicUsize>,
    /// What is left of a length that is known.
    left: Option<u64>,
    done: bool,
}

/// Both ends of a copy of `body`, and what tells that it was read.
fn copied(body: &Body) -> (Copied, CopyBody, CancellationToken) {
    let (sender, receiver) = unbounded_channel();
    let (waiting, read) = (Arc::<AtomicUsize>::default(), CancellationToken::new());
    let copy = CopyBody {
        pieces: receiver,
        waiting: waiting.clone(),
        left: body.size_hint().exact(),
        done: false,
    };
    let copied = Copied {
        pieces: sender,
        waiting,
        _read: read.clone().drop_guard(),
    };
    (copied, copy, read)
}

impl Copied {
    /// Passes on what was read; `false` if the mirror is gone or too far behind.
    fn pass(&self, frame: &Frame<Bytes>) -> bool {
        let piece = if let Some(data) = frame.data_ref() {
            let before = self.waiting.fetch_add(data.len(), Ordering::Relaxed);
            if before > 0 && before + data.len() > LIMIT {
                return false;
            }
            Piece::Data(data.clone())
        } else if let Some(trailers) = frame.trailers_ref() {
            Piece::Trailers(trailers.clone())
        } else {
            return true;
        };
        self.pieces.send(piece).is_ok()
    }
}

impl Tee {
    /// Nothing more is to come.
    fn end(&mut self) {
        for copy in self.copies.drain(..) {
            // Fails if the mirror is gone.
            let _ = copy.pieces.send(Piece::End);
        }
    }
}

impl http_body::Body for Tee {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => self.copies.retain(|copy| copy.pass(frame)),
            Some(Err(_)) => self.copies.clear(),
            None => self.end(),
        }
        if self.body.is_end_stream() {
            self.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl http_body::Body for CopyBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.pieces.poll_recv(cx)) {
            Some(Piece::Data(data)) => {
                self.waiting.fetch_sub(data.len(), Ordering::Relaxed);
                let length = data.len() as u64;
                self.left = self.left.map(|left| left.saturating_sub(length));
                Some(Ok(Frame::data(data)))
            }
            Some(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Piece::End) => {
                self.done = true;
                None
            }
            None => Some(Err(
                "the request was not read, or the mirror fell behind".into()
            )),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.done || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
