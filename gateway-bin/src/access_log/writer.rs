//! The writer thread of the access log.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};

use super::Target;

/// A message to the writer.
pub(super) enum Message {
    /// Write this line.
    Line(Vec<u8>),
    /// Check the reopen flag.
    Wake,
    /// Write the buffered lines and stop.
    End,
}

/// Writes lines to the target.
pub(super) struct Writer {
    target: Target,
    /// Set to `true` to reopen the file.
    reopen: Arc<AtomicBool>,
    out: BufWriter<Box<dyn Write + Send>>,
    /// Whether the last write failed. Only the first failure is logged, until a write succeeds.
    failing: bool,
}

impl Writer {
    pub(super) fn open(target: Target, reopen: Arc<AtomicBool>) -> io::Result<Self> {
        let out = BufWriter::with_capacity(64 * 1024, open(&target)?);
        Ok(Self {
            target,
            reopen,
            out,
            failing: false,
        })
    }

    /// Writes until a stop message arrives or all senders are dropped. Flushes when the queue is empty.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let message = match messages.try_recv() {
                Ok(message) => message,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    let flushed = self.out.flush();
                    self.log_result(flushed);
                    match messages.recv() {
                        Ok(message) => message,
                        Err(_) => break,
                    }
                }
            };
            if self.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            match message {
                Message::Line(line) => {
                    let written = self.out.write_all(&line);
                    self.log_result(written);
                }
                Message::Wake => {}
                Message::End => break,
            }
        }
        let flushed = self.out.flush();
        self.log_result(flushed);
    }

    fn reopen(&mut self) {
        let flushed = self.out.flush();
        self.log_result(flushed);
        match open(&self.target) {
            Ok(out) => self.out = BufWriter::with_capacity(64 * 1024, out),
            Err(error) => {
                tracing::error!(%error, "access log cannot be reopened; the old file stays open")
            }
        }
    }

    fn log_result(&mut self, result: io::Result<()>) {
        match result {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::error!(%error, "access log cannot be written");
            }
            Err(_) => {}
        }
    }
}

fn open(target: &Target) -> io::Result<Box<dyn Write + Send>> {
    Ok(match target {
        Target::Stdout => Box::new(io::stdout()),
        Target::File(path) => Box::new(open_file(path)?),
    })
}

fn open_file(path: &std::path::Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}
