//! Scripted backends for tests: raw bytes on 127.0.0.1.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Action of a backend after it has read a request.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Sends these bytes and keeps the connection open.
    Send(Vec<u8>),
    /// Sends these bytes and closes the connection.
    SendAndClose(Vec<u8>),
    /// Sends these bytes repeatedly until the peer closes.
    Flood(Vec<u8>),
    /// Pauses.
    Pause(Duration),
    /// Keeps the connection open without sending.
    Hang,
    /// Resets the connection.
    Reset,
    /// Echoes the bytes it receives.
    Echo,
}

/// A running backend with a record of its requests.
pub(super) struct Backend {
    pub(super) address: SocketAddr,
    accepts: Arc<AtomicUsize>,
    seen: Arc<std::sync::Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A complete response with this status and body.
pub(super) fn answer(status: u16, body: &str) -> Step {
    let length = body.len();
    Step::Send(
        format!("HTTP/1.1 {status} Answer\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes(),
    )
}

pub(super) fn raw(bytes: &str) -> Step {
    Step::SendAndClose(bytes.as_bytes().to_vec())
}

impl Backend {
    /// Starts a backend that runs the `n`-th script for the `n`-th request, counted over all connections. The
    /// last script repeats.
    pub(super) async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepts, seen) = (Arc::<AtomicUsize>::default(), Arc::default());
        let shared = (accepts.clone(), Arc::clone(&seen), Arc::new(scripts));
        let task = tokio::spawn(async move {
            let (accepts, seen, scripts) = shared;
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                accepts.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, Arc::clone(&seen), Arc::clone(&scripts)));
            }
        });
        Self {
            address,
            accepts,
            seen,
            task,
        }
    }

    /// Starts a backend that answers each request with 200 and this body.
    pub(super) async fn plain(body: &str) -> Self {
        Self::start(vec![vec![answer(200, body)]]).await
    }

    /// Number of accepted connections.
    pub(super) fn accepts(&self) -> usize {
        self.accepts.load(Ordering::SeqCst)
    }

    /// Heads and bodies of all requests, as received.
    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    seen: Arc<std::sync::Mutex<Vec<String>>>,
    scripts: Arc<Vec<Vec<Step>>>,
) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        let steps = {
            let mut seen = seen.lock().unwrap();
            seen.push(request);
            scripts[(seen.len() - 1).min(scripts.len() - 1)].clone()
        };
        for step in steps {
            match step {
                Step::Send(bytes) => {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Step::SendAndClose(bytes) => {
                    let _ = stream.write_all(&bytes).await;
                    return;
                }
                Step::Flood(bytes) => while stream.write_all(&bytes).await.is_ok() {},
                Step::Pause(time) => tokio::time::sleep(time).await,
                Step::Hang => std::future::pending().await,
                Step::Reset => {
                    let zero = Some(Duration::ZERO);
                    socket2::SockRef::from(&stream).set_linger(zero).unwrap();
                    return;
                }
                Step::Echo => {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    return;
                }
            }
        }
    }
}

/// Reads the next request with its body, which must have a length or be chunked. If the head has the field
/// `x-early`, the body is not read.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = request_end(buffer) {
            let rest = buffer.split_off(end);
            let request = std::mem::replace(buffer, rest);
            return Some(String::from_utf8(request).unwrap());
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn request_end(buffer: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(buffer);
    let head = text.find("\r\n\r\n")? + 4;
    let lower = text[..head].to_ascii_lowercase();
    if lower.contains("x-early") {
        return Some(head);
    }
    if lower.contains("transfer-encoding: chunked") {
        let end = text[head..].find("0\r\n\r\n")?;
        return Some(head + end + 5);
    }
    let length = lower.split("content-length: ").nth(1);
    let length: usize = length.map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
    (buffer.len() >= head + length).then_some(head + length)
}
