//! `--hand-over`: a process passes its listening sockets to the next process over a Unix socket.
//!
//! ```text
//! old process                              new process
//!      │ <───────────── connect ──────────────── │ starts
//!      │ ── SOCKETS (up to 64 descriptors) ... ─> │
//!      │ ── END ────────────────────────────────> │ applies its configuration to these sockets
//!      │ <────────────── READY ────────────────── │ serves
//!      │ drains, exits                            │ listens at the path for the next process
//! ```
//!
//! Both processes have the same sockets with the same accept queues, so no client connection is reset. If the
//! new process cannot start, the Unix connection closes before READY and the old process continues. Each
//! process requires that the other runs as the same user or as root.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::net::UnixListener;

use crate::Failure;

/// Message with listening sockets. The digit is the version of the protocol.
const SOCKETS: u8 = b'1';
/// Message after the last sockets.
const END: u8 = b'E';
/// Message of the new process when it serves the sockets.
const READY: u8 = b'R';

/// Largest number of descriptors per message. Linux allows 253.
const BATCH: usize = 64;

/// Time limit for a message.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The connection to the process that this process replaces.
pub(crate) struct Predecessor {
    stream: UnixStream,
}

impl Predecessor {
    /// Receives the listening sockets of the process that listens at `path`. `None`: there is no such process.
    ///
    /// # Errors
    /// If the process runs as another user, or does not send its sockets.
    pub(crate) fn connect(path: &Path) -> Result<Option<(Self, Vec<OwnedFd>)>, Failure> {
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(describe(path, "cannot connect", &error).into()),
        };
        let received = require_same_user(&stream).and_then(|()| receive_all(&stream));
        let sockets = received.map_err(|error| {
            describe(path, "the running process did not pass its sockets", &error)
        })?;
        Ok(Some((Self { stream }, sockets)))
    }

    /// Reports that this process serves the sockets. The predecessor then drains.
    ///
    /// # Errors
    /// If the predecessor has exited.
    pub(crate) fn release(mut self) -> io::Result<()> {
        self.stream.write_all(&[READY])
    }
}

/// The socket at which the next process requests the listening sockets.
pub(crate) struct HandOver {
    listener: UnixListener,
    path: PathBuf,
    /// Path of the socket until [`Self::publish`].
    unpublished: PathBuf,
    successor: Option<tokio::net::UnixStream>,
}

/// An event of a [`HandOver`].
pub(crate) enum HandOverEvent {
    /// A process requests the sockets.
    Requested(UnixStream),
    /// The process that received the sockets serves them.
    Completed,
}

impl HandOver {
    /// Listens on a temporary path in the folder of `path`; [`Self::publish`] moves the socket to `path`.
    /// Must be called within a runtime.
    ///
    /// # Errors
    /// If no socket can be created in the folder.
    pub(crate) fn bind(path: &Path) -> Result<Self, Failure> {
        let mut unpublished = path.as_os_str().to_owned();
        unpublished.push(format!(".{}", std::process::id()));
        let unpublished = PathBuf::from(unpublished);
        // An earlier process with the same process ID may have left a socket.
        let _ = fs::remove_file(&unpublished);
        let bound = UnixListener::bind(&unpublished);
        let listener = bound.map_err(|error| describe(path, "cannot create the socket", &error))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            unpublished,
            successor: None,
        })
    }

    /// Moves the socket to its path. It replaces the socket of the previous process.
    ///
    /// # Errors
    /// If the path is a folder or cannot be written.
    pub(crate) fn publish(&self) -> Result<(), Failure> {
        let renamed = fs::rename(&self.unpublished, &self.path);
        renamed.map_err(|error| describe(&self.path, "cannot create the socket", &error).into())
    }

    /// Waits for the next event. Cancel safe.
    pub(crate) async fn next(&mut self) -> HandOverEvent {
        loop {
            let Some(successor) = &mut self.successor else {
                match self.accept().await {
                    Ok(stream) => return HandOverEvent::Requested(stream),
                    Err(error) => {
                        tracing::warn!(%error, "hand-over: request rejected");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
                continue;
            };
            let mut message = [0];
            let received = tokio::io::AsyncReadExt::read(successor, &mut message).await;
            self.successor = None;
            if matches!(received, Ok(1)) && message == [READY] {
                return HandOverEvent::Completed;
            }
            tracing::warn!("hand-over: the new process ended before it was ready; continuing");
        }
    }

    async fn accept(&self) -> io::Result<UnixStream> {
        let (stream, _) = self.listener.accept().await?;
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        require_same_user(&stream)?;
        Ok(stream)
    }

    /// Sends `sockets` to the process of a [`HandOverEvent::Requested`].
    ///
    /// # Errors
    /// If the process does not receive them.
    pub(crate) fn send(&mut self, stream: UnixStream, sockets: &[OwnedFd]) -> io::Result<()> {
        stream.set_write_timeout(Some(TIMEOUT))?;
        send_all(&stream, sockets)?;
        stream.set_nonblocking(true)?;
        self.successor = Some(tokio::net::UnixStream::from_std(stream)?);
        tracing::info!(
            sockets = sockets.len(),
            "hand-over: a new process received the sockets"
        );
        Ok(())
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        // After `publish`, this path does not exist. The published socket is kept, because it may be that of
        // the next process.
        let _ = fs::remove_file(&self.unpublished);
    }
}

/// Whether no process listens at a path.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

fn describe(path: &Path, what: &str, error: &io::Error) -> String {
    format!("--hand-over {}: {what}: {error}", path.display())
}

/// Requires that the other process runs as the same user or as root, because the receiver of the sockets
/// receives the traffic.
fn require_same_user(stream: &UnixStream) -> io::Result<()> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?.uid;
    if peer == rustix::process::geteuid() || peer.is_root() {
        return Ok(());
    }
    let text = format!("the other process has user id {}", peer.as_raw());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

fn send_all(stream: &UnixStream, sockets: &[OwnedFd]) -> io::Result<()> {
    for batch in sockets.chunks(BATCH) {
        let batch: Vec<BorrowedFd<'_>> = batch.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&batch));
        let bytes = [IoSlice::new(&[SOCKETS])];
        sendmsg(stream, &bytes, &mut control, SendFlags::NOSIGNAL)?;
    }
    (&*stream).write_all(&[END])
}

fn receive_all(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut sockets = Vec::new();
    loop {
        let mut message = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [IoSliceMut::new(&mut message)];
        let received = recvmsg(stream, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = part {
                sockets.extend(descriptors);
            }
        }
        let truncated = received.flags.contains(rustix::net::ReturnFlags::CTRUNC);
        match (received.bytes, message) {
            (1, [SOCKETS]) if !truncated => {}
            (1, [END]) => return Ok(sockets),
            (0, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
            (_, _) if truncated => {
                return Err(io::Error::other("the limit of open files is too low"));
            }
            _ => {
                return Err(io::Error::other(
                    "the running process uses another version of the protocol",
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn temporary(name: &str) -> PathBuf {
        let number = std::process::id();
        std::env::temp_dir().join(format!("towergate-hand-over-{name}-{number}"))
    }

    fn listeners(count: usize) -> Vec<OwnedFd> {
        let one = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        (0..count).map(|_| one().into()).collect()
    }

    #[test]
    fn any_number_of_sockets_arrives_in_order() {
        for count in [0, 1, BATCH, BATCH + 1, 3 * BATCH] {
            let (ours, theirs) = UnixStream::pair().expect("a pair");
            let sent = listeners(count);
            send_all(&ours, &sent).expect("sent");

            let received = receive_all(&theirs).expect("received");

            let address = |socket: OwnedFd| TcpListener::from(socket).local_addr().ok();
            let sent: Vec<_> = sent.into_iter().map(address).collect();
            let received: Vec<_> = received.into_iter().map(address).collect();
            assert_eq!(sent, received);
        }
    }

    #[test]
    fn an_incomplete_or_unknown_message_is_an_error() {
        for bytes in [&b""[..], b"1", b"2E", b"R"] {
            let (mut ours, theirs) = UnixStream::pair().expect("a pair");
            ours.write_all(bytes).expect("sent");
            drop(ours);

            assert!(receive_all(&theirs).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn without_a_process_at_the_path_there_is_no_predecessor() {
        let path = temporary("absent");
        assert!(Predecessor::connect(&path).expect("no error").is_none());

        drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
        assert!(Predecessor::connect(&path).expect("no error").is_none());
        fs::remove_file(&path).expect("it exists");
    }

    #[tokio::test]
    async fn a_successor_that_ends_is_forgotten_and_one_that_is_ready_completes() {
        let path = temporary("completes");
        let mut hand_over = HandOver::bind(&path).expect("a socket");
        assert!(!path.exists());
        hand_over.publish().expect("published");

        for is_ready in [false, true] {
            let connecting = {
                let path = path.clone();
                std::thread::spawn(move || Predecessor::connect(&path).ok().flatten())
            };
            let HandOverEvent::Requested(stream) = hand_over.next().await else {
                panic!("a request");
            };
            hand_over.send(stream, &listeners(3)).expect("sent");
            let (predecessor, sockets) = connecting.join().expect("no panic").expect("sockets");
            assert_eq!(sockets.len(), 3);
            match is_ready {
                true => predecessor.release().expect("released"),
                false => drop(predecessor),
            }
        }

        assert!(matches!(hand_over.next().await, HandOverEvent::Completed));
        fs::remove_file(&path).expect("it exists");
    }
}
