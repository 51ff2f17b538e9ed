//! Request mirroring: copies of requests for other backends.
//!
//! ```text
//! client ──> Tee ──> backend of the rule ──> response to the client
//!             └────> mirror task ──────────> mirror ──> response discarded
//! ```
//!
//! A copy has the head of the forwarded request and the body as the backend reads it. A separate task sends
//! the copy once, with the timeouts, breaker limits and pools of the rule, and reports the result to the
//! observer only. The request never waits for a mirror:
//!
//! - Up to [`MIRROR_BUFFER`] bytes are buffered for a mirror. If the mirror falls further behind, the copy is
//!   aborted and its connection is closed.
//! - If a request is aborted before its body has been read, its copies are aborted.
//! - The request timeout of the rule applies to a copy from the moment the client's request has been read.
//!
//! Copies in flight are dropped when the gateway shuts down.

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

use super::forward::{ForwardContext, Forwarder};
use crate::Body;
use crate::body::BoxError;
use crate::breaker::CircuitBreaker;
use crate::live::Live;
use crate::observer::{Event, Observer};
use crate::plan::{BackendId, LoadBalancer, Traffic};
use crate::plan::{Filter, Fraction};

/// Maximum number of body bytes buffered for a mirror.
pub const MIRROR_BUFFER: usize = 256 * 1024;
/// Timeout for the response to a copy if the rule sets no request timeout. It also applies to each frame of
/// the response body.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(300);

/// The mirrors of a rule or of a backendRef.
#[derive(Clone, Debug, Default)]
pub struct Mirrors(Box<[Mirror]>);

/// A backend that receives copies.
#[derive(Clone, Debug)]
struct Mirror {
    fraction: Fraction,
    target: Arc<MirrorTarget>,
}

#[derive(Debug)]
struct MirrorTarget {
    id: BackendId,
    /// Timeout for the response to a copy.
    timeout: Duration,
    forwarder: Box<dyn Forward>,
}

/// Forwards copies. A forwarder of a rule contains mirrors, and each mirror contains a forwarder. Without
/// this trait, types would nest so deeply that programs that embed the gateway need a `recursion_limit`.
trait Forward: fmt::Debug + Send + Sync {
    /// Resolves to the response body, if there is a response.
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
    /// Builds the mirrors among `filters`; `key` identifies their breakers. Copies are sent with the rule's
    /// `traffic` settings.
    pub(crate) fn new<K>(
        key: &K,
        filters: &[Filter],
        traffic: &Traffic,
        live: &Live,
        provider: &Arc<CryptoProvider>,
    ) -> Self
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
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
            let breaker = live.share(limits, |(_, limits)| CircuitBreaker::new(limits));
            let timeout = traffic.request_timeout.unwrap_or(RESPONSE_TIMEOUT);
            let traffic = Arc::new(mirror_traffic(traffic));
            let forwarder = Forwarder::to_one(&filter.backend, traffic, breaker, live, provider);
            mirrors.push(Mirror {
                fraction: filter.fraction,
                target: Arc::new(MirrorTarget {
                    id: filter.backend.id.clone(),
                    timeout,
                    forwarder: Box::new(forwarder),
                }),
            });
        }
        Self(mirrors.into())
    }

    /// Whether there are no mirrors.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sends copies of a request to a random selection of the mirrors, and returns the body for the request
    /// itself. Must be called within a tokio runtime.
    pub fn send(&self, context: &ForwardContext<'_>, head: &request::Parts, body: Body) -> Body {
        let selected = self.0.iter().filter(|mirror| mirror.fraction.pick());
        let targets: Vec<_> = selected.map(|mirror| mirror.target.clone()).collect();
        let mut copies = Vec::new();
        for target in targets {
            let (copy, read) = match body.is_end_stream() {
                true => (Body::empty(), None),
                false => {
                    let (sender, copy, read) = copy_channel(&body);
                    copies.push(sender);
                    (Body::boxed(copy), Some(read))
                }
            };
            let sending = MirrorRequest {
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

/// Key of a mirror's breaker.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct MirrorKey<K>(K, usize);

/// Traffic settings of a mirror: no retries, health checks or upgrades.
fn mirror_traffic(traffic: &Traffic) -> Traffic {
    Traffic {
        retry: None,
        outlier: None,
        probe: None,
        upgrades: Vec::new(),
        load_balancer: LoadBalancer::default(),
        ..traffic.clone()
    }
}

/// Data for sending one copy of a request to a mirror.
struct MirrorRequest {
    target: Arc<MirrorTarget>,
    client: Option<std::net::IpAddr>,
    observer: Arc<dyn Observer>,
    envoy_headers: bool,
    preserve_header_case: bool,
}

impl MirrorRequest {
    /// Sends the copy. `read` is cancelled when the client's request has been read or aborted.
    async fn run(self, request: Request<Body>, read: Option<CancellationToken>) {
        let late = async {
            if let Some(read) = read {
                read.cancelled().await;
            }
            sleep(self.target.timeout).await;
        };
        let body = tokio::select! {
            biased;
            body = self.forward(request) => body,
            () = late => None,
        };
        let id = &self.target.id;
        self.observer.observe(&match body {
            Some(_) => Event::Mirrored(id),
            None => Event::MirrorFailed(id),
        });
        if let Some(mut body) = body {
            // The response is read so that the connection can be reused, unless the mirror stalls.
            while let Ok(Some(Ok(_))) = timeout(RESPONSE_TIMEOUT, body.frame()).await {}
        }
    }

    /// The response body, if there is a response.
    async fn forward(&self, request: Request<Body>) -> Option<Body> {
        let context = ForwardContext {
            client: self.client,
            observer: &self.observer,
            envoy_headers: self.envoy_headers,
            preserve_header_case: self.preserve_header_case,
            upgrade: None,
            connection: None,
        };
        self.target.forwarder.forward(context, request).await
    }
}

/// A frame of a copied body.
enum CopyFrame {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

/// A request body that is copied as it is read.
struct Tee {
    body: Body,
    copies: Vec<CopySender>,
}

/// Sender of a copied body.
struct CopySender {
    frames: UnboundedSender<CopyFrame>,
    /// Number of bytes that are buffered for the mirror.
    buffered: Arc<AtomicUsize>,
    _read: DropGuard,
}

/// Receiver of a copied body: the body of the copy.
struct CopyBody {
    frames: UnboundedReceiver<CopyFrame>,
    buffered: Arc<AtomicUsize>,
    /// Remaining length in bytes, if known.
    left: Option<u64>,
    done: bool,
}

/// Creates the channel for a copy of `body`, and a token that is cancelled when `body` has been read.
fn copy_channel(body: &Body) -> (CopySender, CopyBody, CancellationToken) {
    let (frames, receiver) = unbounded_channel();
    let (buffered, read) = (Arc::<AtomicUsize>::default(), CancellationToken::new());
    let copy = CopyBody {
        frames: receiver,
        buffered: buffered.clone(),
        left: body.size_hint().exact(),
        done: false,
    };
    let sender = CopySender {
        frames,
        buffered,
        _read: read.clone().drop_guard(),
    };
    (sender, copy, read)
}

impl CopySender {
    /// Sends a frame to the mirror. Returns `false` if the mirror task has ended or is too far behind.
    fn send(&self, frame: &Frame<Bytes>) -> bool {
        let frame = if let Some(data) = frame.data_ref() {
            let before = self.buffered.fetch_add(data.len(), Ordering::Relaxed);
            if before > 0 && before + data.len() > MIRROR_BUFFER {
                return false;
            }
            CopyFrame::Data(data.clone())
        } else if let Some(trailers) = frame.trailers_ref() {
            CopyFrame::Trailers(trailers.clone())
        } else {
            return true;
        };
        self.frames.send(frame).is_ok()
    }
}

impl Tee {
    /// Ends the bodies of all copies.
    fn end(&mut self) {
        for copy in self.copies.drain(..) {
            // Sending fails only if the mirror task has ended.
            let _ = copy.frames.send(CopyFrame::End);
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
            Some(Ok(frame)) => self.copies.retain(|copy| copy.send(frame)),
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
        Poll::Ready(match ready!(self.frames.poll_recv(cx)) {
            Some(CopyFrame::Data(data)) => {
                self.buffered.fetch_sub(data.len(), Ordering::Relaxed);
                let length = data.len() as u64;
                self.left = self.left.map(|left| left.saturating_sub(length));
                Some(Ok(Frame::data(data)))
            }
            Some(CopyFrame::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(CopyFrame::End) => {
                self.done = true;
                None
            }
            None => Some(Err("request was aborted, or the mirror fell behind".into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.done || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
