//! What is noted of a request on its way, and told when it is over.
//!
//! An [`Exchange`] is made when a request's head has arrived and ends with the response's body. It tells
//! the access log and the observer exactly once, also when the client leaves early.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{Response, request};
use http_body::{Body as _, Frame, SizeHint};
use hyper::upgrade::OnUpgrade;

use super::Shared;
use crate::access_log::Entry;
use crate::body::BoxError;
use crate::conn::ConnInfo;
use crate::http::forwarded::{X_FORWARDED_FOR, X_REQUEST_ID};
use crate::observer::Event;
use crate::plan::ListenerId;
use crate::serve::upgrade::tunnel;
use crate::traffic::{Failure, Forwarded, Tunnel};
use crate::{Body, Error};

/// A request under way.
pub(crate) struct Exchange {
    shared: Arc<Shared>,
    listener: Arc<ListenerId>,
    started: Instant,
    /// Whether texts are worth keeping: somebody keeps an access log.
    pub(crate) logged: bool,
    /// What the log will say.
    pub(crate) entry: Entry,
    progress: Option<Arc<Progress>>,
    joined: Option<Joined>,
    /// Nobody is told of it: somebody else answers the request.
    forgotten: bool,
}

/// Both sides of a granted upgrade.
struct Joined {
    client: OnUpgrade,
    backend: Tunnel,
    idle: Option<Duration>,
}

impl Exchange {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        listener: &Arc<ListenerId>,
        conn: &ConnInfo,
        head: &request::Parts,
    ) -> Self {
        let logged = shared.access_log.is_some();
        let text = |text: Option<&str>| text.filter(|_| logged).map(str::to_owned);
        let server_name = conn.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
        let authority = || match head.uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => head.headers.get(http::header::HOST)?.to_str().ok(),
        };
        let entry = Entry {
            start: if logged {
                SystemTime::now()
            } else {
                SystemTime::UNIX_EPOCH
            },
            duration: Duration::ZERO,
            method: head.method.clone(),
            path: text(head.uri.path_and_query().map(|path| path.as_str())).unwrap_or_default(),
            protocol: head.version,
            status: None,
            flags: Cow::Borrowed(""),
            details: Cow::Borrowed(""),
            upstream_failure: None,
            bytes_received: 0,
            bytes_sent: 0,
            upstream_time: None,
            forwarded_for: None,
            user_agent: head
                .headers
                .get(http::header::USER_AGENT)
                .filter(|_| logged)
                .cloned(),
            request_id: None,
            authority: if logged { text(authority()) } else { None },
            upstream_host: None,
            upstream_local: None,
            downstream_local: conn.local,
            client: conn.peer.ip(),
            client_port: conn.peer.port(),
            server_name: text(server_name),
            rule: None,
        };
        Self {
            shared: shared.clone(),
            listener: listener.clone(),
            started: Instant::now(),
            logged,
            entry,
            progress: None,
            joined: None,
            forgotten: false,
        }
    }

    /// Ends without a word: somebody else answers the request.
    pub(crate) fn forget(mut self) {
        self.forgotten = true;
    }

    /// Wraps the request's body so that its bytes are counted, unless there are none to come.
    pub(crate) fn count_request(&mut self, body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        let progress = Arc::<Progress>::default();
        self.progress = Some(progress.clone());
        Body::new(Counted { body, progress })
    }

    /// How far the request's body has come; `None` if it had none.
    pub(crate) fn progress(&self) -> Option<&Arc<Progress>> {
        self.progress.as_ref()
    }

    /// Whether the whole request has arrived.
    pub(crate) fn request_complete(&self) -> bool {
        self.progress
            .as_ref()
            .is_none_or(|progress| progress.complete())
    }

    /// Notes the request as it goes to the backend.
    pub(crate) fn note_forwarded(&mut self, head: &request::Parts) {
        if self.logged {
            self.entry.forwarded_for = head.headers.get(X_FORWARDED_FOR).cloned();
            self.entry.request_id = head.headers.get(X_REQUEST_ID).cloned();
        }
    }

    /// Notes that a backend has answered.
    pub(crate) fn note_answered(&mut self, forwarded: &Forwarded) {
        self.entry.upstream_host = Some(forwarded.endpoint);
        self.entry.upstream_local = forwarded.local;
        self.entry.upstream_time = Some(forwarded.upstream_time);
        self.entry.flags = Cow::Borrowed(forwarded.flags);
    }

    /// Notes that none has.
    pub(crate) fn note_failed(&mut self, failure: Failure) -> Error {
        self.entry.upstream_host = failure.endpoint;
        failure.error
    }

    /// Goes on as a tunnel once the response is out.
    pub(crate) fn join(&mut self, client: OnUpgrade, backend: Tunnel, idle: Option<Duration>) {
        self.joined = Some(Joined {
            client,
            backend,
            idle,
        });
    }

    /// Copies both ways; the exchange ends with the tunnel.
    async fn run_tunnel(mut self, joined: Joined) {
        let Joined {
            client,
            backend,
            idle,
        } = joined;
        match tunnel(client, backend.io, idle).await {
            Ok((received, sent)) => {
                self.entry.bytes_received = received;
                self.entry.bytes_sent = sent;
            }
            Err(error) => tracing::debug!(%error, "a tunnel ended early"),
        }
        drop(backend.counted);
    }

    /// Ends with the response's body.
    pub(crate) fn finish(mut self, response: Response<Body>) -> Response<Body> {
        self.entry.status = Some(response.status());
        if self.entry.details.is_empty() {
            self.entry.details = Cow::Borrowed("via_upstream");
        }
        if let Some(joined) = self.joined.take() {
            tokio::spawn(self.run_tunnel(joined));
            return response;
        }
        let exchange = Some(self);
        response.map(|body| Body::new(Tracked { body, exchange }))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.forgotten {
            return;
        }
        self.entry.duration = self.started.elapsed();
        if let Some(progress) = &self.progress {
            self.entry.bytes_received = progress.bytes.load(Ordering::Relaxed);
        }
        if self.entry.status.is_none() {
            self.entry.flags = Cow::Borrowed("DC");
            self.entry.details = Cow::Borrowed("downstream_remote_disconnect");
        }
        self.shared
            .observer
            .observe(&Event::Request(&self.listener, &self.entry));
        if let Some(log) = &self.shared.access_log {
            log.write(&self.entry);
        }
    }
}

/// How far a request's body has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    bytes: AtomicU64,
    frames: AtomicU64,
    complete: AtomicBool,
}

impl Progress {
    /// Whether its end has been read.
    pub(crate) fn complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }

    /// Frames read; grows as long as the client sends and the backend takes.
    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }
}

/// A request's body that notes its progress.
struct Counted {
    body: Body,
    progress: Arc<Progress>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let progress = &self.progress;
        progress.frames.fetch_add(1, Ordering::Relaxed);
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                progress.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            Some(Err(_)) => {}
            None => progress.complete.store(true, Ordering::Relaxed),
        }
        if self.body.is_end_stream() {
            self.progress.complete.store(true, Ordering::Relaxed);
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

/// A response's body that ends its exchange.
struct Tracked {
    body: Body,
    exchange: Option<Exchange>,
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let ended = match (&frame, &mut self.exchange) {
            (Some(Ok(frame)), Some(exchange)) => {
                exchange.entry.bytes_sent += frame.data_ref().map_or(0, Bytes::len) as u64;
                false
            }
            (Some(Err(_)), Some(exchange)) => {
                exchange.entry.flags = Cow::Borrowed("UC");
                exchange.entry.details =
                    Cow::Borrowed("upstream_reset_after_response_started{connection_termination}");
                true
            }
            (None, _) => true,
            (_, None) => false,
        };
        if ended || self.body.is_end_stream() {
            self.exchange = None;
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

impl Drop for Tracked {
    /// A body that was never read to its end: the client left, unless there was nothing to read.
    fn drop(&mut self) {
        if let Some(exchange) = &mut self.exchange
            && !self.body.is_end_stream()
            && exchange.entry.flags.is_empty()
            && exchange.entry.method != http::Method::HEAD
        {
            exchange.entry.flags = Cow::Borrowed("DC");
            exchange.entry.details = Cow::Borrowed("downstream_remote_disconnect");
        }
    }
}
