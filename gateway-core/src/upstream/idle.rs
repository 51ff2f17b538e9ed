//! The connections of one worker that wait for a request, or share one.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use foldhash::HashMap;

use super::Transport;
use super::http1::Http1;
use super::http2::{Http2, Stream};
use crate::traffic::breaker::Breaker;

/// An idle connection; boxed once, as it moves between here and requests.
type Idle = Box<Http1>;

/// Where a connection leads, and whether hyper speaks.
pub(super) type Key = (SocketAddr, bool);

/// One worker's connections.
#[derive(Default)]
pub(super) struct Connections {
    /// Last used last.
    http1: HashMap<Key, Vec<Idle>>,
    http2: HashMap<SocketAddr, Vec<Arc<Http2>>>,
    /// Held while a connection is opened, so that requests that come together share it.
    turns: HashMap<SocketAddr, Arc<Turn>>,
    /// A sweeper runs.
    pub(super) swept: bool,
}

/// A connection that makes room: closed when dropped, without the lock.
pub(super) enum Evicted {
    Http1(#[allow(dead_code, reason = "kept for its drop")] Idle),
    Http2(#[allow(dead_code, reason = "kept for its drop")] Arc<Http2>),
}

/// The right to open a connection that others wait for.
#[derive(Debug, Default)]
pub(super) struct Turn {
    lock: tokio::sync::Mutex<()>,
    failures: AtomicU32,
}

impl Turn {
    /// Waits for its turn; `None` if the connection that was waited for could not be opened.
    pub(super) async fn take(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let before = self.failures.load(Ordering::Relaxed);
        let guard = self.lock.lock().await;
        (self.failures.load(Ordering::Relaxed) == before).then_some(guard)
    }

    /// Tells those that wait that there is no connection.
    pub(super) fn fail(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

impl Connections {
    /// The connection that was used last.
    pub(super) fn take(&mut self, key: Key) -> Option<Idle> {
        self.http1.get_mut(&key)?.pop()
    }

    /// Any connection without requests that counts for `breaker`, taken out.
    pub(super) fn take_of(&mut self, breaker: &Arc<Breaker>) -> Option<Evicted> {
        let http1 = self.http1.values_mut().find_map(|list| {
            let place = list
                .iter()
                .position(|c| Arc::ptr_eq(c.breaker(), breaker))?;
            Some(Evicted::Http1(list.remove(place)))
        });
        http1.or_else(|| {
            self.http2.values_mut().find_map(|list| {
                let idle = |c: &Arc<Http2>| c.streams() == 0 && Arc::ptr_eq(c.breaker(), breaker);
                let place = list.iter().position(idle)?;
                Some(Evicted::Http2(list.remove(place)))
            })
        })
    }

    /// Makes a connection idle, and tells one that waits for it.
    pub(super) fn put(&mut self, connection: Idle) {
        let key = (connection.node.address(), connection.is_by_hyper());
        let list = self.http1.entry(key).or_default();
        list.push(connection);
        if let Some(connection) = list.last() {
            connection.breaker().wake();
        }
    }

    /// A place on a connection to `address` that takes requests.
    pub(super) fn take_stream(
        &mut self,
        address: SocketAddr,
        transport: &Transport,
    ) -> Option<Stream> {
        let list = self.http2.get_mut(&address)?;
        list.retain(|connection| connection.is_open(transport));
        list.iter().find_map(Http2::open_stream)
    }

    /// Lets others use a connection.
    pub(super) fn share(&mut self, address: SocketAddr, connection: Arc<Http2>) {
        self.http2.entry(address).or_default().push(connection);
    }

    /// Who holds its lock opens a connection to `address`.
    pub(super) fn turn(&mut self, address: SocketAddr) -> Arc<Turn> {
        self.turns.entry(address).or_default().clone()
    }

    /// Whether there is nothing to look after.
    pub(super) fn is_empty(&self) -> bool {
        self.http1.is_empty() && self.http2.is_empty()
    }

    /// Takes out what has ended or was idle for too long, `passed` being the time since the last call.
    /// To be dropped by the caller, without the lock.
    pub(super) fn sweep(
        &mut self,
        transport: &Transport,
        passed: Duration,
    ) -> (Vec<Idle>, Vec<Arc<Http2>>) {
        let limit = transport.idle_timeout.unwrap_or(Duration::MAX);
        let ended = |connection: &mut Idle| {
            connection.note_idle(passed);
            connection.idle_for >= limit
                || connection.node.is_gone()
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
        let mut gone = (Vec::new(), Vec::new());
        for list in self.http1.values_mut() {
            gone.0.extend(list.extract_if(.., ended));
        }
        for list in self.http2.values_mut() {
            gone.1.extend(list.extract_if(.., closed));
        }
        self.http1.retain(|_, list| !list.is_empty());
        self.http2.retain(|_, list| !list.is_empty());
        self.turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        gone
    }
}
