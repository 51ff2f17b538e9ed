//! The connections of one worker: idle HTTP/1 connections and shared HTTP/2 connections.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use foldhash::HashMap;

use super::Transport;
use super::http1::Http1;
use super::http2::{Http2, Http2Stream};
use crate::breaker::CircuitBreaker;
use crate::plan::EndpointAddress;

/// An idle connection. It is boxed once, because it is moved between this list and requests.
type IdleConnection = Box<Http1>;

/// Connections of one worker.
#[derive(Default)]
pub(super) struct Connections {
    /// HTTP/1 connections: index 0 for connections that the gateway's codec drives, index 1 for connections
    /// that hyper drives. The most recently used connection is the last one of its list.
    http1: [HashMap<EndpointAddress, Vec<IdleConnection>>; 2],
    http2: HashMap<EndpointAddress, Vec<Arc<Http2>>>,
    /// Locks for opening connections, so that concurrent requests share one new connection.
    connecting: HashMap<EndpointAddress, Arc<ConnectOnce>>,
    /// Whether a sweeper task is running.
    pub(super) swept: bool,
}

/// A connection that is closed to make room for another one. It must be dropped after the lock is released.
pub(super) enum Evicted {
    Http1(#[allow(dead_code, reason = "held until it is dropped")] IdleConnection),
    Http2(#[allow(dead_code, reason = "held until it is dropped")] Arc<Http2>),
}

/// Lets one request open a connection while other requests wait for that connection.
#[derive(Debug, Default)]
pub(super) struct ConnectOnce {
    lock: tokio::sync::Mutex<()>,
    failures: AtomicU32,
}

impl ConnectOnce {
    /// Waits for the permission to open a connection. `None` if another request tried to open a connection in
    /// the meantime and failed.
    pub(super) async fn wait(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let before = self.failures.load(Ordering::Relaxed);
        let guard = self.lock.lock().await;
        (self.failures.load(Ordering::Relaxed) == before).then_some(guard)
    }

    /// Records that the connection could not be opened, so that the waiting requests fail as well.
    pub(super) fn fail(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

impl Connections {
    /// Takes the most recently used connection to `address`. If `hyper` is set, takes a connection that hyper
    /// drives.
    pub(super) fn take(
        &mut self,
        address: &EndpointAddress,
        hyper: bool,
    ) -> Option<IdleConnection> {
        self.http1[usize::from(hyper)].get_mut(address)?.pop()
    }

    /// Removes a connection that has no requests and is counted by `breaker`.
    pub(super) fn take_of(&mut self, breaker: &Arc<CircuitBreaker>) -> Option<Evicted> {
        let http1 = self.http1_lists().find_map(|list| {
            let index = list
                .iter()
                .position(|c| Arc::ptr_eq(c.breaker(), breaker))?;
            Some(Evicted::Http1(list.remove(index)))
        });
        http1.or_else(|| {
            self.http2.values_mut().find_map(|list| {
                let idle = |c: &Arc<Http2>| c.streams() == 0 && Arc::ptr_eq(c.breaker(), breaker);
                let index = list.iter().position(idle)?;
                Some(Evicted::Http2(list.remove(index)))
            })
        })
    }

    /// Adds an idle connection and wakes a request that waits for a connection.
    pub(super) fn put(&mut self, connection: IdleConnection) {
        let lists = &mut self.http1[usize::from(connection.uses_hyper())];
        let breaker = connection.breaker().clone();
        match lists.get_mut(connection.endpoint.address()) {
            Some(list) => list.push(connection),
            None => {
                let address = connection.endpoint.address().clone();
                lists.insert(address, vec![connection]);
            }
        }
        breaker.wake();
    }

    fn http1_lists(&mut self) -> impl Iterator<Item = &mut Vec<IdleConnection>> {
        self.http1.iter_mut().flat_map(HashMap::values_mut)
    }

    /// Reserves a stream on a connection to `address` that accepts new requests.
    pub(super) fn take_stream(
        &mut self,
        address: &EndpointAddress,
        transport: &Transport,
    ) -> Option<Http2Stream> {
        let list = self.http2.get_mut(address)?;
        list.retain(|connection| connection.is_open(transport));
        list.iter().find_map(Http2::open_stream)
    }

    /// Adds a connection that requests share.
    pub(super) fn share(&mut self, address: &EndpointAddress, connection: Arc<Http2>) {
        let list = self.http2.entry(address.clone()).or_default();
        list.push(connection);
    }

    /// The lock for opening a connection to `address`.
    pub(super) fn connect_once(&mut self, address: &EndpointAddress) -> Arc<ConnectOnce> {
        let once = self.connecting.entry(address.clone()).or_default();
        once.clone()
    }

    /// Whether there are no connections.
    pub(super) fn is_empty(&self) -> bool {
        self.http1.iter().all(HashMap::is_empty) && self.http2.is_empty()
    }

    /// Removes connections that have ended or exceeded the idle timeout; `passed` is the time since the last
    /// call. Returns these connections. The caller must release the lock before it drops them.
    pub(super) fn sweep(
        &mut self,
        transport: &Transport,
        passed: Duration,
    ) -> (Vec<IdleConnection>, Vec<Arc<Http2>>) {
        let limit = transport.idle_timeout.unwrap_or(Duration::MAX);
        let ended = |connection: &mut IdleConnection| {
            connection.note_idle(passed);
            connection.idle_for >= limit
                || connection.endpoint.is_removed()
                || connection.is_expired(transport.max_connection_duration)
                || !connection.is_ready()
        };
        let closed = |connection: &mut Arc<Http2>| {
            let mut idle = connection
                .idle_for
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *idle = match connection.streams() {
                0 => *idle + passed,
                _ => Duration::ZERO,
            };
            *idle >= limit || !connection.is_open(transport)
        };
        let mut removed = (Vec::new(), Vec::new());
        for list in self.http1_lists() {
            removed.0.extend(list.extract_if(.., ended));
        }
        for list in self.http2.values_mut() {
            removed.1.extend(list.extract_if(.., closed));
        }
        for lists in &mut self.http1 {
            lists.retain(|_, list| !list.is_empty());
        }
        self.http2.retain(|_, list| !list.is_empty());
        self.connecting
            .retain(|_, once| Arc::strong_count(once) > 1);
        removed
    }
}
