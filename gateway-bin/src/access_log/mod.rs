//! The access log with Envoy's fields, written by a separate thread.
//!
//! A worker formats the line of an entry and puts it into a queue. If the queue is full, lines are dropped and counted;
//! requests never wait for the log.

mod custom;
mod json;
pub(crate) mod names;
mod text;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use towergate_core::access_log::{AccessLog, Entry, LoggedFields};
use towergate_policy::envoy_proxy::LogCondition;

use crate::flags::AccessLogFormat;
use writer::{Message, Writer};

/// Capacity of the queue in lines.
const QUEUE: usize = 16 * 1024;

/// Formats entries and queues them for the writer.
pub(crate) struct Log {
    format: AccessLogFormat,
    /// Conditions on entries. An entry is written if at least one of them holds. Empty: all entries are
    /// written.
    conditions: Vec<LogCondition>,
    /// Header fields of the format and the conditions.
    fields: LoggedFields,
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

/// Controls the writer of a [`Log`].
pub(crate) struct LogHandle {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
    reopen: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// The destination of an access log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Target {
    /// Standard output.
    Stdout,
    /// A file, which can be reopened.
    File(PathBuf),
}

/// Starts an access log.
///
/// # Errors
/// If the file cannot be opened.
pub(crate) fn start(
    target: Target,
    format: AccessLogFormat,
    conditions: Vec<LogCondition>,
) -> std::io::Result<(Log, LogHandle)> {
    let (queue, lines) = sync_channel(QUEUE);
    let reopen = Arc::<AtomicBool>::default();
    let writer = Writer::open(target, Arc::clone(&reopen))?;
    let thread = std::thread::Builder::new()
        .name("access-log".to_owned())
        .spawn(move || writer.run(&lines))?;
    let dropped = Arc::<AtomicU64>::default();
    let log = Log {
        fields: fields_of(&format, &conditions),
        format,
        conditions,
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

/// The header fields that a log reads.
fn fields_of(format: &AccessLogFormat, conditions: &[LogCondition]) -> LoggedFields {
    let mut fields = match format {
        AccessLogFormat::Custom(format) => format.fields(),
        AccessLogFormat::Json | AccessLogFormat::Text => LoggedFields::default(),
    };
    for condition in conditions {
        fields.add(condition.fields());
    }
    fields
}

impl AccessLog for Log {
    fn write(&self, entry: &Entry) {
        let holds = |condition: &LogCondition| condition.holds(entry, &self.fields);
        if !self.conditions.is_empty() && !self.conditions.iter().any(holds) {
            return;
        }
        let mut line = Vec::with_capacity(1024);
        match &self.format {
            AccessLogFormat::Json => json::write(entry, &mut line),
            AccessLogFormat::Text => text::write(entry, &mut line),
            AccessLogFormat::Custom(format) => {
                custom::write(format, &self.fields, entry, &mut line);
            }
        }
        match self.queue.try_send(Message::Line(line)) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn fields(&self) -> &LoggedFields {
        &self.fields
    }
}

impl LogHandle {
    /// The counter of dropped lines.
    pub(crate) fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    /// Reopens the file before the next line is written, for log rotation.
    pub(crate) fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        // Wakes an idle writer. If the queue is full, the writer is awake.
        let _ = self.queue.try_send(Message::Wake);
    }

    /// Writes the queued lines and stops the writer.
    pub(crate) fn finish(self) {
        if self.queue.send(Message::End).is_ok() {
            let _ = self.thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, StatusCode};
    use towergate_core::access_log::LoggedValues;

    use super::names::tests::entry;
    use super::*;

    #[test]
    fn a_rotated_file_is_reopened() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        let (log, handle) = start(
            Target::File(path.clone()),
            AccessLogFormat::Json,
            Vec::new(),
        )
        .expect("a log");

        log.write(&entry());
        handle.reopen();
        // The line may be written before or after the rename. It must not be lost.
        std::fs::rename(&path, folder.path().join("old.log")).expect("the file is renamed");
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
    fn only_entries_for_which_a_condition_holds_are_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        let conditions = ["response.code >= 400", "'x-debug' in request.headers"];
        let conditions = conditions.map(|text| text.parse().expect("it compiles"));
        let format = "%REQ(X-OTHER)% %RESPONSE_CODE% %REQ(X-DEBUG)%"
            .parse()
            .expect("a format");
        let target = Target::File(path.clone());
        let (log, handle) = start(target, format, conditions.to_vec()).expect("a log");
        assert_eq!(log.fields().request, ["x-other", "x-debug"]);

        let mut entry = entry();
        log.write(&entry);
        let value = |text| Some(HeaderValue::from_static(text));
        entry.fields = Some(Box::new(LoggedValues {
            request: vec![value("a"), value("b")],
            response: Vec::new(),
        }));
        log.write(&entry);
        entry.fields = None;
        entry.status = Some(StatusCode::BAD_GATEWAY);
        log.write(&entry);
        handle.finish();

        let text = std::fs::read_to_string(path).expect("the file is text");
        assert_eq!(text, "a 200 b\n- 502 -\n");
    }

    #[test]
    fn lines_dropped_from_a_full_queue_are_counted() {
        let (queue, _lines) = sync_channel(1);
        let dropped = Arc::<AtomicU64>::default();
        let log = Log {
            format: AccessLogFormat::Json,
            conditions: Vec::new(),
            fields: LoggedFields::default(),
            queue,
            dropped: Arc::clone(&dropped),
        };

        for _ in 0..3 {
            log.write(&entry());
        }

        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    }
}
