//! Connections of all rules with the same transport, grouped by worker.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::Instant;
use towergate_tls::connector::CryptoProvider;

use super::connect::{EndpointStream, Tls, connect};
use super::connection_guard::{CloseNotifier, UpstreamConnectionGuard};
use super::http1::Http1;
use super::http2::{Http2, Http2Stream};
use super::idle::Connections;
use super::preamble::proxy_header;
use super::{Checkout, Transport};
use crate::balance::{Cluster, LiveEndpoint, shard};
use crate::breaker::{CircuitBreaker, Resource, Slot};
use crate::error::Error;
use crate::live::Live;
use crate::observer::{Event, Observer};
use crate::plan::{BackendProtocol, EndpointAddress};
use crate::proxy_protocol::Addresses;

/// Number of shards. If there are more workers, several workers share a shard.
const SHARDS: usize = 64;

/// Connections of one [`Transport`].
pub struct Pool {
    transport: Transport,
    tls: Option<Arc<Tls>>,
    /// The PROXY header that is sent first on each connection. `None`: no PROXY header is sent.
    preamble: Option<Bytes>,
    me: Weak<Self>,
    shards: Box<[Shard]>,
}

/// Connections of one worker. Another worker locks this shard only to close a connection when the limit of a
/// breaker is reached.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<Connections>);

/// Destination of a request, with the breaker and observer of its rule.
#[derive(Clone, Copy)]
pub(crate) struct ConnectTarget<'a> {
    pub(crate) cluster: &'a Arc<Cluster>,
    pub(crate) endpoint: &'a Arc<LiveEndpoint>,
    pub(crate) breaker: &'a Arc<CircuitBreaker>,
    pub(crate) observer: &'a Arc<dyn Observer>,
    /// All pools of the rule, in which an idle connection can be closed to make room.
    pub(crate) pools: &'a [Arc<Pool>],
    /// Whether hyper must drive the connection: only hyper can preserve the case of header names and switch
    /// the protocol.
    pub(crate) requires_hyper: bool,
}

impl ConnectTarget<'_> {
    pub(super) fn close_notifier(&self) -> CloseNotifier {
        CloseNotifier {
            observer: self.observer.clone(),
            cluster: self.cluster.clone(),
        }
    }
}

impl Pool {
    /// Returns the pool of `transport`, which is shared through `live`.
    pub fn shared(live: &Live, transport: Transport, provider: &Arc<CryptoProvider>) -> Arc<Self> {
        live.share(transport, |transport| {
            Self::new(transport.clone(), provider)
        })
    }

    /// Creates a pool without connections.
    pub fn new(transport: Transport, provider: &Arc<CryptoProvider>) -> Arc<Self> {
        let tls = transport.tls.as_ref();
        let tls = tls.map(|tls| Arc::new(Tls::new(tls, transport.protocol, provider)));
        let version = transport.connection.proxy_header;
        let preamble = version.map(|version| proxy_header(version, None));
        Self::starting_with(preamble, transport, tls)
    }

    /// Creates a pool with the same transport for one client, whose addresses are in the PROXY headers. The
    /// connections carry only this client's requests, and are closed with the pool. Returns `None` if the
    /// transport has no PROXY headers or the client is unknown.
    pub(crate) fn of_client(
        &self,
        client: impl FnOnce() -> Option<Addresses>,
    ) -> Option<Arc<Self>> {
        let version = self.transport.connection.proxy_header?;
        let preamble = proxy_header(version, Some(client()?));
        let transport = self.transport.clone();
        Some(Self::starting_with(
            Some(preamble),
            transport,
            self.tls.clone(),
        ))
    }

    fn starting_with(
        preamble: Option<Bytes>,
        transport: Transport,
        tls: Option<Arc<Tls>>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            tls,
            preamble,
            transport,
            me: me.clone(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
        })
    }

    pub(super) fn weak(&self) -> Weak<Self> {
        self.me.clone()
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_deref()
    }

    /// The PROXY header that is sent first on each connection. Empty: no PROXY header is sent.
    pub(super) fn preamble(&self) -> &[u8] {
        self.preamble.as_deref().unwrap_or_default()
    }

    /// Returns whether connections use TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Takes an idle HTTP/1 connection, or a stream of an HTTP/2 connection.
    pub(crate) fn take(&self, to: &ConnectTarget<'_>) -> Option<Checkout> {
        match self.transport.protocol {
            BackendProtocol::Http1 => self.take_idle(to).map(Checkout::Http1),
            BackendProtocol::Http2 => {
                let stream = self.take_stream(to.endpoint.address());
                stream.map(Checkout::Http2)
            }
        }
    }

    /// Takes a connection to the target, or opens one.
    ///
    /// # Errors
    /// [`Error::Overflow`] if no connection is available and too many requests wait for one. Otherwise the
    /// error of opening a connection.
    pub(crate) async fn checkout(&self, to: &ConnectTarget<'_>) -> Result<Checkout, Error> {
        match self.take(to) {
            Some(checkout) => Ok(checkout),
            None => self.open_checkout(to).await,
        }
    }

    /// Opens a connection to the target. If the connection limit is reached, waits for a connection that
    /// becomes idle.
    ///
    /// # Errors
    /// As [`Self::checkout`].
    pub(crate) async fn open_checkout(&self, to: &ConnectTarget<'_>) -> Result<Checkout, Error> {
        // These futures are boxed, so that requests that find an open connection, which are the majority,
        // reserve no memory for opening one.
        match self.transport.protocol {
            BackendProtocol::Http1 => Box::pin(self.open_http1(to)).await.map(Checkout::Http1),
            BackendProtocol::Http2 => Box::pin(self.open_http2(to)).await.map(Checkout::Http2),
        }
    }

    /// Opens a connection to the target, without sharing the connection with other requests. Also returns a
    /// guard that counts the connection.
    ///
    /// # Errors
    /// [`Error::Overflow`] if the connection limit is reached. Otherwise the error of opening the connection.
    pub(crate) async fn open(
        &self,
        to: &ConnectTarget<'_>,
    ) -> Result<(EndpointStream, UpstreamConnectionGuard), Error> {
        let slot = to.breaker.connect(to.endpoint.address());
        let slot = slot.ok_or_else(|| overflow(to))?;
        let stream = self.connect(to).await?;
        Ok((
            stream,
            UpstreamConnectionGuard::new(slot, to.close_notifier()),
        ))
    }

    fn mine(&self) -> MutexGuard<'_, Connections> {
        lock(&self.shards[shard(SHARDS)])
    }

    /// Takes the most recently used connection that is still open.
    fn take_idle(&self, to: &ConnectTarget<'_>) -> Option<Box<Http1>> {
        loop {
            let mut connection = self.mine().take(to.endpoint.address(), to.requires_hyper)?;
            if !connection.is_ready()
                || connection.is_expired(self.transport.max_connection_duration)
            {
                continue;
            }
            // A connection is counted by the breaker of the rule that uses it. If this rule has reached its
            // limit, it takes no connection from another rule.
            if !Arc::ptr_eq(connection.breaker(), to.breaker) {
                match to.breaker.connect(to.endpoint.address()) {
                    Some(slot) => connection.slot = slot,
                    None => {
                        self.put(connection);
                        return None;
                    }
                }
            }
            if !Arc::ptr_eq(&connection.endpoint, to.endpoint) {
                connection.endpoint = to.endpoint.clone();
            }
            connection.idle_for = Duration::ZERO;
            return Some(connection);
        }
    }

    async fn open_http1(&self, to: &ConnectTarget<'_>) -> Result<Box<Http1>, Error> {
        let _pending = to
            .breaker
            .acquire(Resource::Pending)
            .ok_or_else(|| overflow(to))?;
        let found = match to.breaker.connect(to.endpoint.address()) {
            Some(slot) => Found::Slot(slot),
            None if to.breaker.forbids_connections() => return Err(overflow(to)),
            None => to.breaker.wait_for(|| self.find(to)).await,
        };
        match found {
            Found::Idle(connection) => Ok(connection),
            Found::Slot(slot) => {
                let stream = self.connect(to).await?;
                Http1::handshake(stream, slot, to, self).await
            }
        }
    }

    /// Finds an idle connection, or the permission to open one, for a waiting request. May close an idle
    /// connection of the same rule to make room.
    fn find(&self, to: &ConnectTarget<'_>) -> Option<Found> {
        if let Some(connection) = self.take_idle(to) {
            return Some(Found::Idle(connection));
        }
        if let Some(slot) = to.breaker.connect(to.endpoint.address()) {
            return Some(Found::Slot(slot));
        }
        make_room(to);
        to.breaker.connect(to.endpoint.address()).map(Found::Slot)
    }

    /// Closes one idle connection of any worker that `breaker` counts. Returns whether there was one.
    fn evict_idle(&self, breaker: &Arc<CircuitBreaker>) -> bool {
        self.shards.iter().any(|shard| {
            let evicted = lock(shard).take_of(breaker);
            evicted.is_some()
        })
    }

    async fn connect(&self, to: &ConnectTarget<'_>) -> Result<EndpointStream, Error> {
        let start = Instant::now();
        let address = to.endpoint.address();
        let result = connect(address, self.tls(), &self.transport, self.preamble()).await;
        let id = to.cluster.id();
        to.observer.observe(&match &result {
            Ok(_) => Event::UpstreamConnected(id, start.elapsed()),
            Err(_) => Event::UpstreamConnectFailed(id),
        });
        result
    }

    /// Adds an idle connection.
    pub(super) fn put(&self, connection: Box<Http1>) {
        let mine = shard(SHARDS);
        let mut connections = lock(&self.shards[mine]);
        self.sweep_later(&mut connections, mine);
        connections.put(connection);
    }

    fn take_stream(&self, address: &EndpointAddress) -> Option<Http2Stream> {
        self.mine().take_stream(address, &self.transport)
    }

    async fn open_http2(&self, to: &ConnectTarget<'_>) -> Result<Http2Stream, Error> {
        let address = to.endpoint.address();
        let _pending = to
            .breaker
            .acquire(Resource::Pending)
            .ok_or_else(|| overflow(to))?;
        let once = self.mine().connect_once(address);
        let Some(_lock) = once.wait().await else {
            let error = io::Error::other("connection opened by another request failed");
            return Err(Error::Connect(address.clone(), error));
        };
        if let Some(stream) = self.take_stream(address) {
            return Ok(stream);
        }
        let slot = match to.breaker.connect(address) {
            Some(slot) => slot,
            None if to.breaker.forbids_connections() => return Err(overflow(to)),
            None => match to.breaker.wait_for(|| self.find_stream(to)).await {
                Ok(stream) => return Ok(stream),
                Err(slot) => slot,
            },
        };
        let stream = self.connect(to).await.inspect_err(|_| once.fail())?;
        let connection = Http2::handshake(stream, slot, to, &self.transport).await?;
        let stream = connection.open_stream().ok_or_else(|| overflow(to))?;
        let mine = shard(SHARDS);
        let mut connections = lock(&self.shards[mine]);
        connections.share(address, connection);
        self.sweep_later(&mut connections, mine);
        Ok(stream)
    }

    fn find_stream(&self, to: &ConnectTarget<'_>) -> Option<Result<Http2Stream, Slot>> {
        match self.take_stream(to.endpoint.address()) {
            Some(stream) => Some(Ok(stream)),
            None => {
                let free = to.breaker.connect(to.endpoint.address());
                let free = free.or_else(|| {
                    make_room(to);
                    to.breaker.connect(to.endpoint.address())
                });
                free.map(Err)
            }
        }
    }

    /// Starts the sweeper of a shard unless it is running.
    fn sweep_later(&self, connections: &mut Connections, shard: usize) {
        if connections.swept {
            return;
        }
        // Without a runtime there is no sweeper. Connections are also checked when they are taken.
        if let Ok(handle) = Handle::try_current() {
            connections.swept = true;
            let sweeper = Sweeper {
                pool: self.me.clone(),
                shard,
                finished: false,
            };
            handle.spawn(sweeper.run(self.sweep_interval()));
        }
    }

    fn sweep_interval(&self) -> Duration {
        let quarter = self
            .transport
            .idle_timeout
            .map_or(MAX_SWEEP, |idle| idle / 4);
        quarter.clamp(Duration::from_millis(10), MAX_SWEEP)
    }

    /// Closes connections that have ended or exceeded the idle timeout. Returns whether any are left.
    fn sweep(&self, shard: usize, passed: Duration) -> bool {
        let mut connections = lock(&self.shards[shard]);
        let closed = connections.sweep(&self.transport, passed);
        let left = !connections.is_empty();
        connections.swept = left;
        drop(connections);
        // The connections are dropped after the lock is released, because observers may use the pool.
        drop(closed);
        left
    }
}

/// Maximum interval between two sweeps.
const MAX_SWEEP: Duration = Duration::from_secs(1);

/// Closes idle connections of a shard at intervals until none is left.
///
/// If the runtime of the sweeper shuts down, the sweeper is dropped before it has finished. The connections
/// of the shard are then closed, because they cannot work without this runtime.
struct Sweeper {
    pool: Weak<Pool>,
    shard: usize,
    finished: bool,
}

impl Sweeper {
    async fn run(mut self, interval: Duration) {
        while !self.finished {
            tokio::time::sleep(interval).await;
            let left = |pool: Arc<Pool>| pool.sweep(self.shard, interval);
            self.finished = !self.pool.upgrade().is_some_and(left);
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        if !self.finished
            && let Some(pool) = self.pool.upgrade()
        {
            let closed = std::mem::take(&mut *lock(&pool.shards[self.shard]));
            drop(closed);
        }
    }
}

enum Found {
    Idle(Box<Http1>),
    Slot(Slot),
}

/// Closes one idle connection of the rule, to any of its backends, so that another connection can be opened.
fn make_room(to: &ConnectTarget<'_>) {
    let mut pools = to.pools.iter();
    pools.any(|pool| pool.evict_idle(to.breaker));
}

fn overflow(to: &ConnectTarget<'_>) -> Error {
    to.observer.observe(&Event::Overflowed(to.cluster.id()));
    Error::Overflow
}

fn lock(shard: &Shard) -> MutexGuard<'_, Connections> {
    shard.0.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}
