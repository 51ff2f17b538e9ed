//! What is in force, kept on disk for a restart without a controller.
//!
//! The file holds the messages that would bring the plan to a data plane that has nothing. It has private
//! keys in it: only its owner can read it.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use towergate_k8s::wire::{Decoder, FrameReader, PROTOCOL, Peer, Update, Version};

use crate::Failure;
use crate::control::Wanted;

/// Changes this close to each other are written once.
const PAUSE: Duration = Duration::from_secs(2);

/// The file, and who writes it.
pub(super) struct StateFile {
    path: PathBuf,
    newest: watch::Sender<Option<Wanted>>,
}

impl StateFile {
    /// The file `plan` of a folder. Must be called within a runtime.
    pub(super) fn new(folder: &Path) -> Self {
        let (newest, wanted) = watch::channel(None);
        let path = folder.join("plan");
        tokio::spawn(keep(path.clone(), wanted));
        Self { path, newest }
    }

    /// What it says; `None`: nothing that can be served, which is logged. `decoder` has its parts then.
    pub(super) fn read(&self, decoder: &mut Decoder) -> Option<Update> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the state cannot be read");
                return None;
            }
        };
        let read = decode(&bytes, decoder);
        if let Err(error) = &read {
            *decoder = Decoder::default();
            tracing::warn!(path = %self.path.display(), %error, "the state is of no use");
        }
        read.ok()
    }

    /// Writes it soon. An older one that waits is forgotten.
    pub(super) fn write(&self, wanted: Wanted) {
        self.newest.send_replace(Some(wanted));
    }
}

/// Writes the newest one, again and again.
async fn keep(path: PathBuf, mut newest: watch::Receiver<Option<Wanted>>) {
    while newest.changed().await.is_ok() {
        let Some(wanted) = newest.borrow_and_update().clone() else {
            continue;
        };
        let target = path.clone();
        let written = tokio::task::spawn_blocking(move || write(&target, wanted)).await;
        if let Ok(Err(error)) = written {
            tracing::error!(path = %path.display(), %error, "the state cannot be written");
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
        .ok_or("it is of another release")?;
    let mut reader = FrameReader::default();
    reader.push(frames);
    let mut update = None;
    while let Some((kind, payload)) = reader.next_frame()? {
        update = decoder.take(kind, payload)?;
    }
    match update {
        Some(update) if reader.is_empty() => Ok(update),
        _ => Err("it is not complete".into()),
    }
}

fn write(path: &Path, wanted: Wanted) -> Result<(), Failure> {
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
    let version = Version::new(0, wanted.plan, wanted.endpoints, None)?;
    for piece in Peer::empty().update(&version)? {
        out.write_all(&piece?)?;
    }
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(fs::rename(fresh, path)?)
}
