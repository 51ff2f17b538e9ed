//! Backends for tests: scripted in raw bytes, on 127.0.0.1.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What a backend does with one request, after it has read it.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Sends these bytes and keeps the connection.
    Send(Vec<u8>),
    /// Sends these bytes and closes.
    SendAndClose(Vec<u8>),
    /// Sends these bytes over and over, until the other side has enough.
    Flood(Vec<u8>),
    /// Waits.
    Pause(Duration),
    /// Does nothing more, and keeps the connection.
    Hang,
    /// Closes with a reset.
    Reset,
    /// Sends what comes back.
    Echo,
}

/// A running backend, and what it has seen.
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

/// A whole response with this status and body.
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
    /// Answers the `n`-th request, over all connections, with the `n`-th script; the last one repeats.
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

    /// A backend that answers each request with 200 and this body.
    pub(super) async fn plain(body: &str) -> Self {
        Self::start(vec![vec![answer(200, body)]]).await
    }

    /// Connections so far.
    pub(super) fn accepts(&self) -> usize {
        self.accepts.load(Ordering::SeqCst)
    }

    /// The heads of the requests so far, with their bodies, as they came.
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

/// The next request with its body, which must have a length or be chunked. A head with `x-early` is not
/// followed by its body.
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
