//! The connections of all rules that want the same transport, apart for each worker.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;
use towergate_tls::client::ClientTls;
use towergate_tls::connector::CryptoProvider;

use super::Checkout;
use super::connect::{Connected, Tls, connect};
use super::http1::{Http1, Open, Told};
use super::http2::{Http2, Stream};
use super::idle::Connections;
use crate::balance::{Cluster, Node, shard};
use crate::error::Error;
use crate::http::settings::Http2Settings;
use crate::observer::{Event, Observer};
use crate::plan::{Backend, BackendConnection, BackendProtocol, Traffic};
use crate::snapshot::Live;
use crate::traffic::breaker::{Breaker, Resource, Slot};

/// Workers beyond this number share lists.
const SHARDS: usize = 64;

/// What must be equal for connections to be shared.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Transport {
    /// What is spoken.
    pub protocol: BackendProtocol,
    /// TLS; `None`: plain.
    pub tls: Option<Arc<ClientTls>>,
    /// For a new connection, with its TLS handshake.
    pub connect_timeout: Duration,
    /// For a connection without requests.
    pub idle_timeout: Option<Duration>,
    /// Age after which a connection takes no more requests.
    pub max_connection_duration: Option<Duration>,
    /// Requests per connection.
    pub max_requests_per_connection: Option<u32>,
    /// Sockets, buffers and HTTP/2.
    pub connection: BackendConnection,
}

impl Transport {
    /// How a rule with these settings speaks to this backend.
    pub fn new(backend: &Backend, traffic: &Traffic) -> Self {
        let mut connection = traffic.connection.clone();
        if backend.protocol == BackendProtocol::Http1 {
            // What has no effect keeps nobody from sharing.
            connection.http2 = Http2Settings::default();
        }
        Self {
            protocol: backend.protocol,
            tls: backend.tls.clone(),
            connect_timeout: traffic.connect_timeout,
            idle_timeout: traffic.idle_timeout,
            max_connection_duration: traffic.max_connection_duration,
            max_requests_per_connection: traffic.max_requests_per_connection,
            connection,
        }
    }
}

/// Connections of one [`Transport`].
pub struct Pool {
    transport: Transport,
    tls: Option<Tls>,
    me: Weak<Self>,
    shards: Box<[Shard]>,
}

/// One worker's connections. Others come only for what keeps them from a limit.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<Connections>);

/// Where a request is to go, and on whose account.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) cluster: &'a Arc<Cluster>,
    pub(crate) node: &'a Arc<Node>,
    pub(crate) breaker: &'a Arc<Breaker>,
    pub(crate) observer: &'a Arc<dyn Observer>,
    /// All pools of the rule.
    pub(crate) pools: &'a [Arc<Pool>],
    /// Only hyper can speak: names keep their case, or the protocol may be switched.
    pub(crate) by_hyper: bool,
}

impl Target<'_> {
    pub(super) fn told(&self) -> Told {
        Told {
            observer: self.observer.clone(),
            cluster: self.cluster.clone(),
        }
    }
}

impl Pool {
    /// The pool of this transport.
    pub fn shared(live: &Live, transport: Transport, provider: &Arc<CryptoProvider>) -> Arc<Self> {
        live.share(transport, |transport| {
            Self::new(transport.clone(), provider)
        })
    }

    /// A pool without connections.
    pub fn new(transport: Transport, provider: &Arc<CryptoProvider>) -> Arc<Self> {
        let tls = transport.tls.as_ref();
        let tls = tls.map(|tls| Tls::new(tls, transport.protocol, provider));
        Arc::new_cyclic(|me| Self {
            tls,
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
        self.tls.as_ref()
    }

    /// Whether connections are TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// A connection to the target that is idle, or has room for a stream.
    pub(crate) fn take(&self, to: &Target<'_>) -> Option<Checkout> {
        match self.transport.protocol {
            BackendProtocol::Http1 => self.take_idle(to).map(Checkout::Http1),
            BackendProtocol::Http2 => {
                let stream = self.take_stream(to.node.address());
                stream.map(Checkout::Http2)
            }
        }
    }

    /// A connection to the target: one that is open, else a new one.
    ///
    /// # Errors
    /// [`Error::Overflow`] if no connection is free and too many wait for one, else why none could be
    /// opened.
    pub(crate) async fn checkout(&self, to: &Target<'_>) -> Result<Checkout, Error> {
        if let Some(checkout) = self.take(to) {
            return Ok(checkout);
        }
        // Boxed: most requests find a connection, and need no room for opening one.
        match self.transport.protocol {
            BackendProtocol::Http1 => Box::pin(self.open_http1(to)).await.map(Checkout::Http1),
            BackendProtocol::Http2 => Box::pin(self.open_http2(to)).await.map(Checkout::Http2),
        }
    }

    /// A new connection to the target that nobody else will use, and what counts it.
    ///
    /// # Errors
    /// [`Error::Overflow`] if the limit of connections is reached, else why none could be opened.
    pub(crate) async fn open(&self, to: &Target<'_>) -> Result<(Connected, Open), Error> {
        let slot = to.breaker.connect(to.node.address());
        let slot = slot.ok_or_else(|| overflow(to))?;
        let connected = self.connect(to).await?;
        Ok((connected, Open::new(slot, to.told())))
    }

    fn mine(&self) -> MutexGuard<'_, Connections> {
        lock(&self.shards[shard(SHARDS)])
    }

    /// The connection that was used last and still is open.
    fn take_idle(&self, to: &Target<'_>) -> Option<Box<Http1>> {
        let key = (to.node.address(), to.by_hyper);
        loop {
            let mut connection = self.mine().take(key)?;
            if !connection.is_ready()
                || connection.is_expired(self.transport.max_connection_duration)
            {
                continue;
            }
            // It counts for the rule that uses it. A rule at its limit uses none of others.
            if !Arc::ptr_eq(connection.breaker(), to.breaker) {
                match to.breaker.connect(to.node.address()) {
                    Some(slot) => connection.slot = slot,
                    None => {
                        self.put(connection);
                        return None;
                    }
                }
            }
            if !Arc::ptr_eq(&connection.node, to.node) {
                connection.node = to.node.clone();
            }
            connection.idle_for = Duration::ZERO;
            return Some(connection);
        }
    }

    async fn open_http1(&self, to: &Target<'_>) -> Result<Box<Http1>, Error> {
        let _pending = to
            .breaker
            .acquire(Resource::Pending)
            .ok_or_else(|| overflow(to))?;
        let found = match to.breaker.connect(to.node.address()) {
            Some(slot) => Found::Slot(slot),
            None if to.breaker.is_shut() => return Err(overflow(to)),
            None => to.breaker.wait_for(|| self.find(to)).await,
        };
        match found {
            Found::Idle(connection) => Ok(connection),
            Found::Slot(slot) => {
                let connected = self.connect(to).await?;
                Http1::handshake(connected, slot, to, self).await
            }
        }
    }

    /// What a waiting request can go on with, giving up an idle connection of the same rule for it.
    fn find(&self, to: &Target<'_>) -> Option<Found> {
        if let Some(connection) = self.take_idle(to) {
            return Some(Found::Idle(connection));
        }
        if let Some(slot) = to.breaker.connect(to.node.address()) {
            return Some(Found::Slot(slot));
        }
        make_room(to);
        to.breaker.connect(to.node.address()).map(Found::Slot)
    }

    /// Closes one idle connection that counts for `breaker`, of any worker, if there is one.
    fn evict_idle(&self, breaker: &Arc<Breaker>) -> bool {
        self.shards.iter().any(|shard| {
            let evicted = lock(shard).take_of(breaker);
            evicted.is_some()
        })
    }

    async fn connect(&self, to: &Target<'_>) -> Result<Connected, Error> {
        let start = Instant::now();
        let how = &self.transport;
        let result = connect(to.node.address(), self.tls.as_ref(), how).await;
        let id = to.cluster.id();
        to.observer.observe(&match &result {
            Ok(_) => Event::UpstreamConnected(id, start.elapsed()),
            Err(_) => Event::UpstreamConnectFailed(id),
        });
        result
    }

    /// Makes a connection idle.
    pub(super) fn put(&self, connection: Box<Http1>) {
        let mine = shard(SHARDS);
        let mut connections = lock(&self.shards[mine]);
        self.sweep_later(&mut connections, mine);
        connections.put(connection);
    }

    fn take_stream(&self, address: SocketAddr) -> Option<Stream> {
        self.mine().take_stream(address, &self.transport)
    }

    async fn open_http2(&self, to: &Target<'_>) -> Result<Stream, Error> {
        let address = to.node.address();
        let _pending = to
            .breaker
            .acquire(Resource::Pending)
            .ok_or_else(|| overflow(to))?;
        let turn = self.mine().turn(address);
        let Some(_turn) = turn.take().await else {
            let error = io::Error::other("the connection that was waited for failed");
            return Err(Error::Connect(address, error));
        };
        if let Some(stream) = self.take_stream(address) {
            return Ok(stream);
        }
        let slot = match to.breaker.connect(address) {
            Some(slot) => slot,
            None if to.breaker.is_shut() => return Err(overflow(to)),
            None => match to.breaker.wait_for(|| self.find_stream(to)).await {
                Ok(stream) => return Ok(stream),
                Err(slot) => slot,
            },
        };
        let connected = self.connect(to).await.inspect_err(|_| turn.fail())?;
        let connection = Http2::handshake(connected, slot, to, &self.transport).await?;
        let stream = connection.open_stream().ok_or_else(|| overflow(to))?;
        let mine = shard(SHARDS);
        let mut connections = lock(&self.shards[mine]);
        connections.share(address, connection);
        self.sweep_later(&mut connections, mine);
        Ok(stream)
    }

    fn find_stream(&self, to: &Target<'_>) -> Option<Result<Stream, Slot>> {
        match self.take_stream(to.node.address()) {
            Some(stream) => Some(Ok(stream)),
            None => {
                let free = to.breaker.connect(to.node.address());
                let free = free.or_else(|| {
                    make_room(to);
                    to.breaker.connect(to.node.address())
                });
                free.map(Err)
            }
        }
    }

    /// Starts the sweeper of a shard, unless it runs.
    fn sweep_later(&self, connections: &mut Connections, shard: usize) {
        if connections.swept {
            return;
        }
        // Outside of a runtime nothing is swept; the next checkout still looks.
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

    /// Closes what has ended or was idle for too long. Returns whether anything is left.
    fn sweep(&self, shard: usize, passed: Duration) -> bool {
        let mut connections = lock(&self.shards[shard]);
        let closed = connections.sweep(&self.transport, passed);
        let left = !connections.is_empty();
        connections.swept = left;
        drop(connections);
        // Not under the lock: whoever hears of it may come for a connection.
        drop(closed);
        left
    }
}

/// The longest time between two sweeps.
const MAX_SWEEP: Duration = Duration::from_secs(1);

/// Closes idle connections of a shard at intervals, until none is left.
///
/// It is dropped before it has finished only if its runtime shuts down. The connections of the shard cannot
/// work without that runtime, and are closed then.
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

/// Closes an idle connection of the rule, to whatever backend, so that another can be opened.
fn make_room(to: &Target<'_>) {
    let mut pools = to.pools.iter();
    pools.any(|pool| pool.evict_idle(to.breaker));
}

fn overflow(to: &Target<'_>) -> Error {
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
