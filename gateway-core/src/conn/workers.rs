//! The threads that serve.
//!
//! Each worker is one thread with a runtime of its own. It gets a listening socket for each
//! address, and shares nothing with the others that a request would write.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use super::drain::Drain;
use super::listener::{Server, Source, serve_source};
use crate::datagram;
use crate::observer::Observer;
use crate::serve::Handler;

/// What a worker is told.
pub(crate) enum Order {
    /// Accept from one more socket.
    Serve(Assignment),
    /// Take the datagrams of one more socket.
    ServeDatagrams(datagram::Assignment),
    /// End, with all that is still served.
    Stop,
}

/// A socket for a worker to accept from.
pub(crate) struct Assignment {
    pub(crate) socket: std::net::TcpListener,
    pub(crate) source: Source,
    pub(crate) drain: Drain,
}

/// The worker threads. When this and the [`Listeners`](super::Listeners) that were made from it
/// are dropped, they end, with all that they still serve.
#[derive(Debug)]
pub struct Workers {
    inboxes: Vec<mpsc::UnboundedSender<Order>>,
    threads: Vec<JoinHandle<()>>,
    drain: Drain,
}

impl Workers {
    /// Starts `count` threads, at least one. `handler` makes the handler of each worker, by its
    /// number, so that workers need not share what it holds.
    ///
    /// # Errors
    ///
    /// If a thread or its runtime cannot be made.
    pub fn start<H: Handler>(
        count: usize,
        mut handler: impl FnMut(usize) -> H,
        observer: Arc<dyn Observer>,
        drain: Drain,
    ) -> io::Result<Self> {
        let mut workers = Self {
            inboxes: Vec::new(),
            threads: Vec::new(),
            drain,
        };
        for number in 0..count.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (sender, inbox) = mpsc::unbounded_channel();
            let server = Server {
                handler: handler(number),
                observer: observer.clone(),
            };
            let thread = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || work(&runtime, inbox, &server))?;
            workers.inboxes.push(sender);
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// The ways to reach the workers.
    pub(crate) fn inboxes(&self) -> Vec<mpsc::UnboundedSender<Order>> {
        self.inboxes.clone()
    }

    /// The drain of everything that they serve.
    pub fn drain(&self) -> &Drain {
        &self.drain
    }

    /// Ends the threads, with all that they still serve, and waits for them. Call
    /// [`Drain::start`] and [`Drain::drained`] before.
    pub fn stop(self) {
        for inbox in self.inboxes {
            // Fails if the worker has ended, which is what is wanted.
            let _ = inbox.send(Order::Stop);
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker thread has panicked");
            }
        }
    }
}

/// Serves what comes into the inbox until it is closed or says stop.
fn work<H: Handler>(
    runtime: &Runtime,
    mut inbox: mpsc::UnboundedReceiver<Order>,
    server: &Server<H>,
) {
    runtime.block_on(async {
        loop {
            match inbox.recv().await {
                Some(Order::Serve(assignment)) => accept_from(assignment, server),
                Some(Order::ServeDatagrams(assignment)) => {
                    tokio::spawn(datagram::serve(assignment, server.clone()));
                }
                Some(Order::Stop) | None => return,
            }
        }
    });
}

fn accept_from<H: Handler>(assignment: Assignment, server: &Server<H>) {
    let Assignment {
        socket,
        source,
        drain,
    } = assignment;
    match TcpListener::from_std(socket) {
        Ok(listener) => {
            tokio::spawn(serve_source(listener, source, server.clone(), drain));
        }
        Err(error) => tracing::error!(%error, "a socket cannot be served"),
    }
}
