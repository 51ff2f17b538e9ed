//! What is noted of a request on its way, and told when it is over.
//!
//! An [`Exchange`] is made when a request's head has arrived and ends with the response's body. It tells
//! the access log and the observer exactly once, also when the client leaves early.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::header::{HOST, USER_AGENT};
use http::{Response, Version, request};
use http_body::Body as _;
use hyper::upgrade::OnUpgrade;

use super::Shared;
use super::bodies::{Progress, RequestBody, ResponseBody, Trailers};
use super::timers::Patience;
use crate::Error::{RequestDuration, StreamDuration};
use crate::access_log::Entry;
use crate::conn::ConnInfo;
use crate::filter::cors::Marks;
use crate::http::client_ip::X_FORWARDED_FOR;
use crate::http::forwarded::X_REQUEST_ID;
use crate::http::settings::ListenerSettings;
use crate::observer::Event;
use crate::plan::ListenerId;
use crate::serve::upgrade::{CloseReason, tunnel_until};
use crate::traffic::{ForwardError, Forwarded, Tunnel};
use crate::{Body, Error, LocalReply};

/// A request under way.
pub(crate) struct Exchange {
    shared: Arc<Shared>,
    listener: Arc<ListenerId>,
    started: Instant,
    /// Whether texts are worth keeping: somebody keeps an access log.
    pub(crate) logged: bool,
    /// What the log will say.
    pub(crate) entry: Entry,
    /// How long it may be silent, and when it ends.
    pub(crate) patience: Patience,
    /// What the answer tells browsers, whoever gives it.
    pub(crate) cors: Option<Box<Marks>>,
    progress: Option<Arc<Progress>>,
    joined: Option<Joined>,
    /// Nobody is told of it: somebody else answers the request.
    forgotten: bool,
    switching: bool,
    left: bool,
}

/// Both sides of a granted upgrade.
struct Joined {
    client: OnUpgrade,
    backend: Tunnel,
}

impl Exchange {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        listener: &Arc<ListenerId>,
        conn: &ConnInfo,
        head: &request::Parts,
    ) -> Box<Self> {
        // Boxed once, as it goes from step to step and then with the response's body.
        let mut this = Box::new(Self::begin(shared, listener, conn));
        let entry = &mut this.entry;
        entry.method = Some(head.method.clone());
        entry.protocol = Some(head.version);
        if this.logged {
            let path = head.uri.path_and_query().map(|path| path.as_str());
            entry.path = path.unwrap_or_default().to_owned();
            entry.user_agent = head.headers.get(USER_AGENT).cloned();
            let authority = match head.uri.authority() {
                Some(authority) => Some(authority.as_str()),
                None => head.headers.get(HOST).and_then(|host| host.to_str().ok()),
            };
            entry.authority = authority.map(str::to_owned);
        }
        this
    }

    /// Records the reply to a malformed or incomplete request.
    pub(crate) fn record_reply(
        shared: &Arc<Shared>,
        listener: &Arc<ListenerId>,
        conn: &ConnInfo,
        reply: &LocalReply,
    ) {
        let mut this = Self::begin(shared, listener, conn);
        this.entry.status = Some(reply.status);
        this.note_reply(reply);
    }

    /// Nothing is known yet but the connection.
    fn begin(shared: &Arc<Shared>, listener: &Arc<ListenerId>, conn: &ConnInfo) -> Self {
        let logged = shared.access_log.is_some();
        let server_name = conn.tls.as_ref().and_then(|tls| tls.server_name.as_ref());
        let start = if logged {
            SystemTime::now()
        } else {
            SystemTime::UNIX_EPOCH
        };
        let entry = Entry {
            server_name: server_name.filter(|_| logged).cloned(),
            ..Entry::begun(start, without_zone(conn.local), conn.peer)
        };
        Self {
            shared: shared.clone(),
            listener: listener.clone(),
            started: Instant::now(),
            logged,
            entry,
            patience: Patience::default(),
            cors: None,
            progress: None,
            joined: None,
            forgotten: false,
            switching: false,
            left: false,
        }
    }

    /// Ends without a word: somebody else answers the request.
    pub(crate) fn forget(mut self: Box<Self>) {
        self.forgotten = true;
    }

    /// Wraps the request's body so that its bytes are counted, unless there are none to come.
    pub(crate) fn count_request(&mut self, body: Body, settings: &ListenerSettings) -> Body {
        self.patience = Patience::new(settings);
        if body.is_end_stream() {
            return body;
        }
        let progress = Arc::<Progress>::default();
        self.progress = Some(progress.clone());
        Body::boxed(RequestBody::new(body, progress, self.trailers(settings)))
    }

    /// What becomes of trailers, to and from this client.
    fn trailers(&self, settings: &ListenerSettings) -> Trailers {
        let http2 = self.entry.protocol >= Some(Version::HTTP_2);
        if http2 || settings.http1.trailers {
            Trailers::Pass
        } else {
            Trailers::Drop
        }
    }

    /// How far the request's body has come; `None` if it had none.
    pub(crate) fn progress(&self) -> Option<&Arc<Progress>> {
        self.progress.as_ref()
    }

    /// Whether the whole request has arrived. One that asks for another protocol never has: what
    /// follows it may be meant for that.
    pub(crate) fn request_complete(&self) -> bool {
        !self.switching && self.body_complete()
    }

    /// Whether the whole body has arrived, if there is one.
    pub(crate) fn body_complete(&self) -> bool {
        let progress = self.progress.as_ref();
        progress.is_none_or(|progress| progress.complete())
    }

    /// Reads what is at hand of a request that nobody wants any more.
    pub(crate) async fn finish_request(&self) {
        if let Some(progress) = &self.progress {
            progress.take_rest().await;
        }
    }

    /// Notes that the client asks for another protocol.
    pub(crate) fn note_switching(&mut self) {
        self.switching = true;
    }

    /// Notes that the client is gone.
    pub(crate) fn note_left(&mut self) {
        self.left = true;
        self.entry.flags = Cow::Borrowed("DC");
        self.entry.details = Cow::Borrowed("downstream_remote_disconnect");
    }

    /// Notes what the request says of its client and itself: first when its head is clean, so that also
    /// what the gateway answers by itself can be found by its id, then as it goes to the backend.
    pub(crate) fn note_forwarded(&mut self, head: &request::Parts) {
        if self.logged {
            self.entry.forwarded_for = head.headers.get(X_FORWARDED_FOR).cloned();
            self.entry.request_id = head.headers.get(X_REQUEST_ID).cloned();
        }
    }

    /// Notes that a backend has answered.
    pub(crate) fn note_answered(&mut self, forwarded: &Forwarded) {
        self.entry.upstream_host = Some(without_zone(forwarded.endpoint));
        self.entry.upstream_local = forwarded.local.map(without_zone);
        self.entry.upstream_time = Some(forwarded.upstream_time);
        self.entry.flags = Cow::Borrowed(forwarded.flags);
    }

    /// Records the flag and the details of a reply, unless the client has left.
    pub(crate) fn note_reply(&mut self, reply: &LocalReply) {
        if !self.left {
            self.entry.flags = Cow::Borrowed(reply.flag);
            self.entry.details = reply.details.clone();
        }
    }

    /// Notes that none has.
    pub(crate) fn note_failed(&mut self, failure: ForwardError) -> Error {
        self.entry.upstream_host = failure.endpoint.map(without_zone);
        failure.error
    }

    /// Goes on as a tunnel once the response is out.
    pub(crate) fn join(&mut self, client: OnUpgrade, backend: Tunnel) {
        self.joined = Some(Joined { client, backend });
    }

    /// Copies both ways; the exchange ends with the tunnel.
    async fn run_tunnel(mut self: Box<Self>, joined: Joined) {
        let Joined { client, backend } = joined;
        let Patience { idle, ends } = self.patience;
        let (ends, reason) = match (ends, backend.deadline) {
            (Some(ours), Some(theirs)) if ours < theirs => (Some(ours), RequestDuration(true)),
            (_, Some(theirs)) => (Some(theirs), StreamDuration(true)),
            (ours, None) => (ours, RequestDuration(true)),
        };
        let told = tunnel_until(client, backend.io, idle, ends).await;
        self.entry.bytes_received = told.received;
        self.entry.bytes_sent = told.sent;
        match told.reason {
            CloseReason::Client => self.note_left(),
            CloseReason::Backend => {}
            CloseReason::IdleTimeout => {
                self.entry.flags = Cow::Borrowed("SI");
                self.entry.details = Cow::Borrowed("stream_idle_timeout");
            }
            CloseReason::MaxDuration => {
                self.note_reply(&reason.reply());
            }
        }
        drop(backend.guard);
    }

    /// Ends with the response's body.
    pub(crate) fn finish(
        mut self: Box<Self>,
        response: Response<Body>,
        settings: &ListenerSettings,
    ) -> Response<Body> {
        if self.left {
            // Nobody is there to get it.
            return response;
        }
        self.entry.status = Some(response.status());
        if self.entry.details.is_empty() {
            self.entry.details = Cow::Borrowed("via_upstream");
        }
        if let Some(progress) = &self.progress {
            progress.drop_rest();
        }
        if let Some(joined) = self.joined.take() {
            tokio::spawn(self.run_tunnel(joined));
            return response;
        }
        let trailers = self.trailers(settings);
        response.map(|body| Body::boxed(ResponseBody::new(body, self, trailers)))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.forgotten {
            return;
        }
        self.entry.duration = self.started.elapsed();
        if let Some(progress) = &self.progress {
            self.entry.bytes_received = progress.bytes();
        }
        if self.entry.status.is_none() {
            self.note_left();
        }
        self.shared
            .observer
            .observe(&Event::Request(&self.listener, &self.entry));
        if let Some(log) = &self.shared.access_log {
            log.write(&self.entry);
        }
    }
}

/// The zone of an address means something on this machine only (RFC 4007, section 6).
fn without_zone(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}
