//! Worker threads.
//!
//! Each worker is one thread with its own current-thread runtime and its own listening socket for each
//! address. Requests do not write to state that workers share.

use std::io;
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::listener::{ConfigSource, serve_source};
use super::server::Server;
use crate::conn::Drain;
use crate::datagram::{self, DatagramAssignment};
use crate::serve::Handler;

/// A command to a worker.
pub(super) enum WorkerCommand {
    /// Serve the connections of a TCP socket.
    ServeTcp(TcpAssignment),
    /// Serve the datagrams of a UDP socket.
    ServeUdp(DatagramAssignment),
    /// Close all connections and exit.
    Stop,
}

/// A TCP listening socket, assigned to a worker.
pub(super) struct TcpAssignment {
    pub(super) socket: std::net::TcpListener,
    pub(super) source: ConfigSource,
    pub(super) drain: Drain,
    /// Counts the socket as accepting; see [`serve_source`].
    pub(super) accepting: TaskTrackerToken,
}

/// The worker threads. They close all connections and exit when this value and the
/// [`Listeners`](super::Listeners) created from it are dropped.
#[derive(Debug)]
pub struct Workers {
    senders: Vec<mpsc::UnboundedSender<WorkerCommand>>,
    threads: Vec<JoinHandle<()>>,
    drain: Drain,
}

impl Workers {
    /// Starts `count` threads, at least one. `server` creates the server of each worker; its argument is the
    /// number of the worker. Therefore workers need not share a handler.
    ///
    /// # Errors
    ///
    /// Fails if a thread or its runtime cannot be created.
    pub fn start<H: Handler>(
        count: usize,
        mut server: impl FnMut(usize) -> Server<H>,
        drain: Drain,
    ) -> io::Result<Self> {
        let mut workers = Self {
            senders: Vec::new(),
            threads: Vec::new(),
            drain,
        };
        for number in 0..count.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (sender, commands) = mpsc::unbounded_channel();
            let server = server(number);
            let thread = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || work(&runtime, commands, &server))?;
            workers.senders.push(sender);
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Channels for commands to the workers.
    pub(super) fn senders(&self) -> Vec<mpsc::UnboundedSender<WorkerCommand>> {
        self.senders.clone()
    }

    /// The drain of all connections of the workers.
    pub fn drain(&self) -> &Drain {
        &self.drain
    }

    /// Closes all connections, stops the threads and joins them. [`Drain::start`] and [`Drain::drained`]
    /// should be called before.
    pub fn stop(self) {
        for sender in self.senders {
            // Fails only if the worker has exited already.
            let _ = sender.send(WorkerCommand::Stop);
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("worker thread panicked");
            }
        }
    }
}

/// Runs the commands of a worker until [`WorkerCommand::Stop`] or the channel closes.
fn work<H: Handler>(
    runtime: &Runtime,
    mut commands: mpsc::UnboundedReceiver<WorkerCommand>,
    server: &Server<H>,
) {
    runtime.block_on(async {
        loop {
            match commands.recv().await {
                Some(WorkerCommand::ServeTcp(assignment)) => accept_from(assignment, server),
                Some(WorkerCommand::ServeUdp(assignment)) => {
                    let log = server.stream_log.clone();
                    tokio::spawn(datagram::serve(assignment, log, server.observer.clone()));
                }
                Some(WorkerCommand::Stop) | None => return,
            }
        }
    });
}

fn accept_from<H: Handler>(assignment: TcpAssignment, server: &Server<H>) {
    let TcpAssignment {
        socket,
        source,
        drain,
        accepting,
    } = assignment;
    match TcpListener::from_std(socket) {
        Ok(listener) => {
            let server = server.clone();
            tokio::spawn(serve_source(listener, source, server, drain, accepting));
        }
        Err(error) => tracing::error!(%error, "registering a TCP socket with the runtime failed"),
    }
}
