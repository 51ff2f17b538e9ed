//! The record of a request for the access log and metrics. It is written when the response ends.
//!
//! An [`Exchange`] begins with the request head and ends with the response body. It writes to the access
//! log and to the observer exactly once, even if the client disconnects early.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, Method, Response, StatusCode, Uri, Version, request};
use http_body::Body as _;
use hyper::upgrade::OnUpgrade;

use super::Shared;
use super::request_body::{Progress, RequestBody, Trailers};
use super::timers::StreamTimeouts;
use crate::access_log::{Entry, LoggedTls};
use crate::client_abort::ClientAbort;
use crate::conn::ConnInfo;
use crate::format::{FormatConnection, FormatContext, FormatExchange, FormatRequest, FormatTls};
use crate::http::client_ip::X_FORWARDED_FOR;
use crate::http::forwarded::X_REQUEST_ID;
use crate::http::grpc::GRPC_STATUS;
use crate::http::settings::ListenerSettings;
use crate::observer::Event;
use crate::plan::{EndpointAddress, ListenerId};
use crate::policy::ResponseLog;
use crate::serve::stream_task::{self, DropCause};
use crate::serve::upgrade::CloseReason;
use crate::time_limits::Expired;
use crate::traffic::{ForwardError, Forwarded, Tunnel};
use crate::{Body, Error, LocalReply};

/// A request and its response.
pub(crate) struct Exchange {
    shared: Arc<Shared>,
    listener: Arc<ListenerId>,
    started: Instant,
    /// Whether an access log is written. If not, no strings are copied.
    pub(crate) logged: bool,
    /// Entry for the access log.
    pub(crate) entry: Entry,
    /// Time limits of the stream.
    pub(crate) timeouts: StreamTimeouts,
    progress: Option<Arc<Progress>>,
    ending: Ending,
    /// Whether the client requests an upgrade.
    switching: bool,
    /// Whether a policy has set the response code details, which may be empty.
    details_set: bool,
    /// A copy of the head of the forwarded request. `None` unless values of the response depend on the head.
    forwarded: Option<Box<ForwardedHead>>,
}

/// A copy of the head of a request.
struct ForwardedHead {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
}

/// Event with which an exchange ends.
enum Ending {
    /// The end of the response body.
    Response,
    /// The end of the tunnel that follows the response head.
    Tunnel(UpgradedStreams),
    /// The client has disconnected or reset the stream.
    Left,
    /// Another service responds to the request. Nothing is recorded.
    Unrecorded,
}

/// The two connections of a granted upgrade.
struct UpgradedStreams {
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
        // The exchange is boxed once, because it moves through the steps and then into the response body.
        let mut this = Box::new(Self::begin(shared, listener, conn, Duration::ZERO));
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

    /// Records the reply to a malformed or incomplete request, whose first byte was received `age` ago.
    pub(crate) fn record_reply(
        shared: &Arc<Shared>,
        listener: &Arc<ListenerId>,
        conn: &ConnInfo,
        reply: &LocalReply,
        age: Duration,
    ) {
        let mut this = Self::begin(shared, listener, conn, age);
        this.entry.status = Some(reply.status);
        this.note_reply(reply);
    }

    /// Records that the client closed the connection within a request head, whose first byte was received `age` ago.
    pub(crate) fn record_incomplete(
        shared: &Arc<Shared>,
        listener: &Arc<ListenerId>,
        conn: &ConnInfo,
        age: Duration,
    ) {
        // Dropping an exchange without a response records that the client has disconnected.
        drop(Self::begin(shared, listener, conn, age));
    }

    /// The record of a connection on which no request is known yet. The record begins `age` before now.
    fn begin(
        shared: &Arc<Shared>,
        listener: &Arc<ListenerId>,
        conn: &ConnInfo,
        age: Duration,
    ) -> Self {
        let logged = shared.access_log.is_some();
        let server_name = conn.tls.as_ref().and_then(|tls| tls.server_name.as_ref());
        let start = if logged {
            SystemTime::now() - age
        } else {
            SystemTime::UNIX_EPOCH
        };
        let entry = Entry {
            server_name: server_name.filter(|_| logged).cloned(),
            tls: conn.tls.as_ref().map(|tls| LoggedTls {
                version: tls.version,
                cipher: tls.cipher,
            }),
            client_certificate: match &conn.tls {
                Some(tls) if logged => tls.client.clone(),
                Some(_) | None => None,
            },
            fingerprints: conn.fingerprints.clone().filter(|_| logged),
            connection: Some(conn.id),
            ..Entry::begun(start, without_zone(conn.local), conn.peer)
        };
        Self {
            shared: shared.clone(),
            listener: listener.clone(),
            started: began(age),
            logged,
            entry,
            timeouts: StreamTimeouts::default(),
            progress: None,
            ending: Ending::Response,
            switching: false,
            details_set: false,
            forwarded: None,
        }
    }

    /// Stores a copy of the forwarded head, because values of the response depend on the head.
    pub(crate) fn keep_head(&mut self, head: &request::Parts) {
        self.forwarded = Some(Box::new(ForwardedHead {
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            headers: head.headers.clone(),
        }));
    }

    /// The input of command operators. Values of the request are read from the stored copy of the request
    /// head or, without a copy, from `head`. Values of the response come from `response`.
    pub(crate) fn format_context<'a>(
        &'a self,
        conn: &'a ConnInfo,
        head: Option<FormatRequest<'a>>,
        response: Option<(StatusCode, &'a HeaderMap)>,
    ) -> FormatContext<'a> {
        let entry = &self.entry;
        let kept = self.forwarded.as_ref().map(|kept| {
            FormatRequest::of_parts(&kept.method, &kept.uri, kept.version, &kept.headers)
        });
        let connection = format_connection(conn);
        let details = match response {
            Some(_) if entry.details.is_empty() && !self.details_set => "via_upstream",
            _ => &*entry.details,
        };
        FormatContext {
            // Policies receive every head as HTTP/1.1, but operators must return the version as received.
            request: kept.or(head).map(|request| FormatRequest {
                version: entry.protocol.or(request.version),
                ..request
            }),
            response: response.map(|(_, headers)| headers),
            connection: Some(FormatConnection {
                client: SocketAddr::new(entry.client, entry.client_port),
                ..connection
            }),
            exchange: Some(FormatExchange {
                request_duration: self.request_duration(),
                response_duration: entry.upstream_time.map(|_| self.started.elapsed()),
                status: response.map(|(status, _)| status),
                flags: &entry.flags,
                details,
                bytes_received: self
                    .progress
                    .as_ref()
                    .map_or(0, |progress| progress.bytes()),
                connection: entry.connection,
                attempts: entry.attempts,
                upstream: entry.upstream_host.as_ref(),
                upstream_local: entry.upstream_local,
                upstream_version: entry.upstream_protocol,
                upstream_failure: entry.upstream_failure.as_deref(),
                rule: entry.rule.as_deref(),
                ..FormatExchange::begun(SystemTime::now() - self.started.elapsed())
            }),
            logged: None,
        }
    }

    /// Ends the exchange without an entry in the access log, because no route matches and the inner service of the
    /// Layer responds to the request.
    pub(crate) fn forget(mut self: Box<Self>) {
        self.ending = Ending::Unrecorded;
    }

    /// Wraps the request body in order to count its bytes. An empty body is returned unchanged.
    pub(crate) fn count_request(&mut self, body: Body, settings: &ListenerSettings) -> Body {
        self.timeouts = StreamTimeouts::new(settings);
        if body.is_end_stream() {
            return body;
        }
        let progress = Arc::<Progress>::default();
        self.progress = Some(progress.clone());
        let http2 = self.entry.protocol >= Some(Version::HTTP_2);
        let body = RequestBody::new(body, progress, self.trailers(settings))
            .underscores(settings.headers.underscores)
            .http2(http2);
        Body::boxed(body)
    }

    /// The handling of trailers from and to this client.
    pub(crate) fn trailers(&self, settings: &ListenerSettings) -> Trailers {
        let http2 = self.entry.protocol >= Some(Version::HTTP_2);
        if http2 || settings.http1.trailers {
            Trailers::Pass
        } else {
            Trailers::Drop
        }
    }

    /// Progress of the request body. `None` if there is no body.
    pub(crate) fn progress(&self) -> Option<&Arc<Progress>> {
        self.progress.as_ref()
    }

    /// Whether the whole request has been received. False for a request for an upgrade, because further bytes
    /// may belong to the new protocol.
    pub(crate) fn request_complete(&self) -> bool {
        !self.switching && self.body_complete()
    }

    /// Whether the request body has been received completely. True if there is no body.
    pub(crate) fn body_complete(&self) -> bool {
        let progress = self.progress.as_ref();
        progress.is_none_or(|progress| progress.complete())
    }

    /// Reads the available rest of the body of a request that is not forwarded.
    pub(crate) async fn drain_request(&self) {
        if let Some(progress) = &self.progress {
            progress.drain_body().await;
        }
    }

    /// Records that the client has requested an upgrade.
    pub(crate) fn note_switching(&mut self) {
        self.switching = true;
    }

    /// Records that the client has disconnected or reset the stream, or that the gateway has dropped the
    /// request because of the client ([`DropCause`]).
    pub(crate) fn note_left(&mut self) {
        let progress = self.progress.as_ref();
        let is_malformed = || progress.is_some_and(|progress| progress.is_malformed());
        let (flag, details) = match stream_task::drop_cause() {
            None => ClientAbort::Disconnected.outcome(),
            Some(DropCause::ClientIdle) => ("SI", "stream_idle_timeout"),
            Some(DropCause::ConnectionError) => ClientAbort::ConnectionError.outcome(),
            Some(DropCause::ClientReset) if is_malformed() => ClientAbort::Malformed.outcome(),
            Some(DropCause::ClientReset) => ClientAbort::StreamReset.outcome(),
        };
        self.ending = Ending::Left;
        self.entry.flags = Cow::Borrowed(flag);
        self.entry.details = Cow::Borrowed(details);
    }

    /// Whether the client is recorded as disconnected.
    pub(crate) fn has_client_left(&self) -> bool {
        matches!(self.ending, Ending::Left)
    }

    /// Records the client and the ID of a request. This method is called twice. The first call, after
    /// sanitizing, makes the ID available to the log of a local reply. The second call, before forwarding,
    /// records the values that the backend receives.
    pub(crate) fn note_forwarded(&mut self, head: &request::Parts) {
        if self.logged {
            self.entry.forwarded_for = head.headers.get(X_FORWARDED_FOR).cloned();
            self.entry.request_id = head.headers.get(X_REQUEST_ID).cloned();
            self.note_request_fields(&head.headers);
        }
    }

    /// Records the request fields that the access log contains.
    fn note_request_fields(&mut self, headers: &HeaderMap) {
        let log = self.shared.access_log.as_ref();
        let names = log.map_or(&[][..], |log| &log.fields().request);
        if !names.is_empty() {
            let values = names.iter().map(|name| headers.get(name).cloned());
            let fields = self.entry.fields.get_or_insert_default();
            fields.request = values.collect();
        }
    }

    /// Records the response fields that the access log contains.
    fn note_response_fields(&mut self, headers: &HeaderMap) {
        let log = self.shared.access_log.as_ref();
        let names = log.map_or(&[][..], |log| &log.fields().response);
        if !names.is_empty() {
            let values = names.iter().map(|name| headers.get(name).cloned());
            let fields = self.entry.fields.get_or_insert_default();
            fields.response = values.collect();
        }
    }

    /// Whether the access log contains durations of the parts of the exchange.
    fn measures_durations(&self) -> bool {
        let log = self.shared.access_log.as_ref();
        log.is_some_and(|log| log.fields().durations)
    }

    /// Time from the start to the end of the request body. `None` if it is not known.
    fn request_duration(&self) -> Option<Duration> {
        match &self.progress {
            None => Some(Duration::ZERO),
            Some(progress) => progress.complete().then(|| {
                let end = progress.last_frame().into_std();
                end.saturating_duration_since(self.started)
            }),
        }
    }

    /// Records the trailers of the response.
    pub(crate) fn note_trailers(&mut self, trailers: &HeaderMap) {
        if self.logged {
            self.entry.grpc_status = trailers.get(GRPC_STATUS).cloned();
        }
    }

    /// Records that a backend has responded.
    pub(crate) fn note_answered(&mut self, forwarded: &Forwarded) {
        self.entry.upstream_host = Some(logged_address(&forwarded.endpoint));
        self.entry.upstream_local = forwarded.local.map(without_zone);
        self.entry.upstream_time = Some(forwarded.upstream_time);
        self.entry.upstream_protocol = Some(forwarded.response.version());
        self.entry.attempts = forwarded.attempts;
        if self.logged && self.measures_durations() {
            self.entry.response_duration = Some(self.started.elapsed());
        }
        self.entry.flags = Cow::Borrowed(forwarded.flags);
    }

    /// Records the flag and the details of a reply. Has no effect if the client is already recorded as
    /// disconnected. If the flag is that of a client abort, the client is recorded as disconnected.
    pub(crate) fn note_reply(&mut self, reply: &LocalReply) {
        if !matches!(self.ending, Ending::Left) {
            self.entry.flags = Cow::Borrowed(reply.flag);
            self.entry.details = reply.details.clone();
            if ClientAbort::is_reply(reply) {
                self.ending = Ending::Left;
            }
        }
    }

    /// Replaces the path in the access log entry.
    pub(crate) fn note_path(&mut self, path: String) {
        if self.logged {
            self.entry.path = path;
        }
    }

    /// Records the flag and the details that policies have set.
    pub(crate) fn note_policies(&mut self, log: ResponseLog) {
        if let Some(flag) = log.flag {
            self.entry.flags = Cow::Borrowed(flag);
        }
        if let Some(details) = log.details {
            self.entry.details = details;
            self.details_set = true;
        }
    }

    /// Records that no backend has responded.
    pub(crate) fn note_failed(&mut self, failure: ForwardError) -> Error {
        self.entry.upstream_host = failure.endpoint.as_ref().map(logged_address);
        self.entry.attempts = failure.attempts;
        if self.logged {
            self.entry.upstream_failure = failure.error.upstream_failure().map(Cow::Owned);
        }
        failure.error
    }

    /// Makes the exchange continue as a tunnel between `client` and `backend` after the response.
    pub(crate) fn join(&mut self, client: OnUpgrade, backend: Tunnel) {
        if let Ending::Response = self.ending {
            self.ending = Ending::Tunnel(UpgradedStreams { client, backend });
        }
    }

    /// Copies bytes in both directions until the tunnel ends.
    async fn run_tunnel(mut self: Box<Self>, streams: UpgradedStreams) {
        let UpgradedStreams { client, backend } = streams;
        let end = self.timeouts.tunnel_end(backend.deadline);
        let deadline = end.map(|(at, _)| at);
        let copied = backend.copy(client, self.timeouts.idle, deadline).await;
        self.entry.bytes_received = copied.received;
        self.entry.bytes_sent = copied.sent;
        match copied.reason {
            CloseReason::Client => self.note_left(),
            CloseReason::Backend => {}
            CloseReason::IdleTimeout => self.note_reply(&Expired::Idle.after_head()),
            CloseReason::MaxDuration => {
                let expired = end.map_or(Expired::ClientStream, |(_, expired)| expired);
                self.note_reply(&expired.after_head());
            }
        }
    }

    /// Records the response head. If the exchange ends with the response body, returns the exchange. If a
    /// tunnel follows, returns `None`: the tunnel owns the exchange and ends it.
    pub(crate) fn conclude(mut self: Box<Self>, response: &Response<Body>) -> Option<Box<Self>> {
        if let Ending::Left = self.ending {
            return None;
        }
        self.entry.status = Some(response.status());
        self.note_response_fields(response.headers());
        if self.entry.details.is_empty() && !self.details_set {
            self.entry.details = Cow::Borrowed("via_upstream");
        }
        if let Some(progress) = &self.progress {
            progress.end_body(self.entry.protocol >= Some(Version::HTTP_2));
        }
        if let Ending::Tunnel(streams) = std::mem::replace(&mut self.ending, Ending::Response) {
            tokio::spawn(self.run_tunnel(streams));
            return None;
        }
        Some(self)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Ending::Unrecorded = self.ending {
            return;
        }
        self.entry.duration = self.started.elapsed();
        if let Some(progress) = &self.progress {
            self.entry.bytes_received = progress.bytes();
        }
        if self.logged && self.measures_durations() {
            self.entry.request_duration = self.request_duration();
        }
        if self.entry.status.is_none() && !matches!(self.ending, Ending::Left) {
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

/// The instant `age` before now.
fn began(age: Duration) -> Instant {
    let now = Instant::now();
    now.checked_sub(age).unwrap_or(now)
}

/// The client's connection for command operators. The client is assumed to be the peer.
pub(super) fn format_connection(conn: &ConnInfo) -> FormatConnection<'_> {
    let tls = conn.tls.as_ref();
    FormatConnection {
        peer: without_zone(conn.peer),
        local: without_zone(conn.local),
        client: without_zone(conn.peer),
        server_name: tls.and_then(|tls| tls.server_name.as_deref()),
        tls: tls.map(|tls| FormatTls {
            version: tls.version,
            cipher: tls.cipher,
            client: tls.client.as_deref(),
            fingerprints: conn.fingerprints.as_deref(),
        }),
    }
}

/// The address of an endpoint without its IPv6 zone.
fn logged_address(address: &EndpointAddress) -> EndpointAddress {
    match address {
        EndpointAddress::Ip(address) => without_zone(*address).into(),
        EndpointAddress::Unix(_) => address.clone(),
    }
}

/// The address without its IPv6 zone, which is meaningful only on this host (RFC 4007, section 6).
fn without_zone(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}
