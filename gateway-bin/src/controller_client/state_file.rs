//! Stores the configuration in service on disk, so that it can be served after a restart without a
//! controller.
//!
//! The file contains the messages that a controller sends to a new data plane. They include private keys, so
//! only the owner of the file can read it.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use towergate_k8s::wire::{Decoder, FrameReader, PROTOCOL, Peer, Update, Version};

use crate::Failure;
use crate::control::Desired;

/// Minimum time between two writes.
const PAUSE: Duration = Duration::from_secs(2);

/// The file and the task that writes it.
pub(super) struct StateFile {
    path: PathBuf,
    newest: watch::Sender<Option<Desired>>,
}

impl StateFile {
    /// The file `plan` of a folder. Must be called within a runtime.
    pub(super) fn new(folder: &Path) -> Self {
        let (newest, changes) = watch::channel(None);
        let path = folder.join("plan");
        tokio::spawn(write_changes(path.clone(), changes));
        Self { path, newest }
    }

    /// Reads the file. Returns `None` if the file is missing or invalid; an invalid file is logged. `decoder`
    /// keeps the parts that were read.
    pub(super) fn read(&self, decoder: &mut Decoder) -> Option<Update> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "state file cannot be read");
                return None;
            }
        };
        let read = decode(&bytes, decoder);
        if let Err(error) = &read {
            *decoder = Decoder::default();
            tracing::warn!(path = %self.path.display(), %error, "state file is invalid and ignored");
        }
        read.ok()
    }

    /// Schedules a write of `desired`. A pending write is replaced.
    pub(super) fn write(&self, desired: Desired) {
        self.newest.send_replace(Some(desired));
    }
}

/// Writes the newest configuration whenever it changes.
async fn write_changes(path: PathBuf, mut newest: watch::Receiver<Option<Desired>>) {
    while newest.changed().await.is_ok() {
        let Some(desired) = newest.borrow_and_update().clone() else {
            continue;
        };
        let target = path.clone();
        let written = tokio::task::spawn_blocking(move || write(&target, desired)).await;
        if let Ok(Err(error)) = written {
            tracing::error!(path = %path.display(), %error, "state file cannot be written");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn first_line() -> String {
    format!("towergate plan {PROTOCOL}\n")
}

fn decode(bytes: &[u8], decoder: &mut Decoder) -> Result<Update, Failure> {
    let frames = bytes
        .strip_prefix(first_line().as_bytes())
        .ok_or("another release wrote the state file")?;
    let mut reader = FrameReader::default();
    reader.push(frames);
    let mut update = None;
    while let Some((kind, payload)) = reader.next_frame()? {
        update = decoder.take(kind, payload)?;
    }
    match update {
        Some(update) if reader.is_empty() => Ok(update),
        _ => Err("it is incomplete".into()),
    }
}

fn write(path: &Path, desired: Desired) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let fresh = path.with_extension("new");
    let _ = fs::remove_file(&fresh);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    let mut out = BufWriter::new(file);
    out.write_all(first_line().as_bytes())?;
    let version = Version::new(0, desired.plan, desired.endpoints, None)?;
    for piece in Peer::empty().update(&version)? {
        out.write_all(&piece?)?;
    }
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(fs::rename(fresh, path)?)
}
