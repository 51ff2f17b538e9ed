//! The access log: Envoy's fields, written by a thread of its own.
//!
//! A worker writes an entry's line into memory and hands it over. If the writer cannot follow, lines are
//! dropped and counted; requests never wait for the log.

mod json;
pub(crate) mod names;
mod text;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use towergate_core::access_log::{AccessLog, Entry};

use crate::args::LogFormat;
use writer::{Message, Writer};

/// Lines on their way to the writer.
const QUEUE: usize = 16 * 1024;

/// Takes entries and hands them to the writer.
pub(crate) struct Log {
    format: fn(&Entry, &mut Vec<u8>),
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

/// Speaks with the writer of a [`Log`].
pub(crate) struct LogHandle {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
    reopen: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Where an access log goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Target {
    /// Standard output.
    Stdout,
    /// A file, opened again when asked.
    File(PathBuf),
}

/// Starts an access log.
///
/// # Errors
/// If the file cannot be opened.
pub(crate) fn start(target: Target, format: LogFormat) -> std::io::Result<(Log, LogHandle)> {
    let (queue, lines) = sync_channel(QUEUE);
    let reopen = Arc::<AtomicBool>::default();
    let writer = Writer::open(target, Arc::clone(&reopen))?;
    let thread = std::thread::Builder::new()
        .name("access-log".to_owned())
        .spawn(move || writer.run(&lines))?;
    let dropped = Arc::<AtomicU64>::default();
    let log = Log {
        format: match format {
            LogFormat::Json => json::write,
            LogFormat::Text => text::write,
        },
        queue: queue.clone(),
        dropped: Arc::clone(&dropped),
    };
    Ok((
        log,
        LogHandle {
            queue,
            dropped,
            reopen,
            thread,
        },
    ))
}

impl AccessLog for Log {
    fn write(&self, entry: &Entry) {
        let mut line = Vec::with_capacity(1024);
        (self.format)(entry, &mut line);
        match self.queue.try_send(Message::Line(line)) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl LogHandle {
    /// Counts lines that were dropped.
    pub(crate) fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    /// Opens the file again before the next line is written: it may have been moved away.
    pub(crate) fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        // Wakes a writer that has nothing to do; a full queue means that it is awake.
        let _ = self.queue.try_send(Message::Wake);
    }

    /// Writes what is queued, and ends the writer.
    pub(crate) fn finish(self) {
        if self.queue.send(Message::End).is_ok() {
            let _ = self.thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::names::tests::entry;
    use super::*;

    #[test]
    fn a_moved_file_is_opened_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        let (log, handle) = start(Target::File(path.clone()), LogFormat::Json).expect("it opens");

        log.write(&entry());
        handle.reopen();
        // Whether the line is before or after the move does not matter: nothing is lost.
        std::fs::rename(&path, folder.path().join("old.log")).expect("it is moved");
        handle.reopen();
        log.write(&entry());
        handle.finish();

        let count = |name: &str| {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
            text.lines().count()
        };
        assert_eq!(count("old.log") + count("access.log"), 2);
        assert!(path.exists());
    }

    #[test]
    fn lines_that_find_no_room_are_counted() {
        let (queue, _lines) = sync_channel(1);
        let dropped = Arc::<AtomicU64>::default();
        let log = Log {
            format: json::write,
            queue,
            dropped: Arc::clone(&dropped),
        };

        for _ in 0..3 {
            log.write(&entry());
        }

        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    }
}
