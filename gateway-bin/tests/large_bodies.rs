//! Bodies larger than the memory limit of the gateway. They are streamed in both directions; backpressure
//! slows down the sender, and the memory of the gateway does not grow.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::manifests::app;
use common::{Folder, Towergate, eventually};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

/// A rule without a time limit.
const RULES: &str = "{timeouts: {request: 0s}, backendRefs: [{name: app, port: 80}]}";

const MIB: u64 = 1 << 20;
/// Number of concurrent bodies.
const PARALLEL: u64 = 8;
/// Length of a body, in bytes.
const BODY: u64 = 256 * MIB;
/// Maximum memory growth of the gateway, in bytes. It is less than the length of one body.
const GROWTH: u64 = 48 * MIB;
/// Maximum number of bytes in flight if one side does not read. It covers the socket buffers of two
/// connections, which Linux grows to about 10 MiB, and the buffers of the gateway.
const IN_FLIGHT: u64 = 96 * MIB;

static PIECE: [u8; 64 << 10] = [b'x'; 64 << 10];

/// A backend that responds to `GET` with [`BODY`] bytes, and to other requests with the number of bytes
/// received.
struct Store {
    address: SocketAddr,
    /// Number of response body bytes sent.
    sent: Arc<AtomicU64>,
    /// Whether request bodies are read.
    reads: Arc<AtomicBool>,
}

impl Store {
    fn start(reads: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sent = Arc::<AtomicU64>::default();
        let reads = Arc::new(AtomicBool::new(reads));
        let (count, gate) = (sent.clone(), reads.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (count, gate) = (count.clone(), gate.clone());
                thread::spawn(move || answer(stream, &count, &gate));
            }
        });
        Self {
            address,
            sent,
            reads,
        }
    }
}

/// Serves the requests of one connection. Returns `None` at its end.
fn answer(stream: TcpStream, sent: &AtomicU64, reads: &AtomicBool) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let (method, length) = read_head(&mut reader)?;
        if method == "GET" {
            write!(writer, "HTTP/1.1 200 OK\r\ncontent-length: {BODY}\r\n\r\n").ok()?;
            send(&mut writer, BODY, sent).ok()?;
            continue;
        }
        while !reads.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(10));
        }
        let came = take(&mut reader, length).to_string();
        write!(
            writer,
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{came}",
            came.len()
        )
        .ok()?;
    }
}

/// Returns the first word of a request or response and its `content-length`. `None` at the end of the
/// connection.
fn read_head(reader: &mut impl BufRead) -> Option<(String, u64)> {
    let (mut first, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            return Some((first.split(' ').next()?.to_owned(), length));
        }
        if first.is_empty() {
            first.clone_from(&line);
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
}

fn send(writer: &mut impl Write, length: u64, sent: &AtomicU64) -> std::io::Result<()> {
    let mut left = length;
    while left > 0 {
        let piece = left.min(PIECE.len() as u64);
        writer.write_all(&PIECE[..piece as usize])?;
        sent.fetch_add(piece, Ordering::Relaxed);
        left -= piece;
    }
    Ok(())
}

/// Reads `length` bytes, or fewer if the connection ends. Returns their number.
fn take(reader: &mut impl Read, length: u64) -> u64 {
    let (mut came, mut piece) = (0, [0; PIECE.len()]);
    while came < length {
        let most = (length - came).min(piece.len() as u64) as usize;
        match reader.read(&mut piece[..most]) {
            Ok(read @ 1..) => came += read as u64,
            _ => break,
        }
    }
    came
}

/// A gateway in front of a backend, and its initial memory.
struct Bench {
    store: Store,
    gateway: Towergate,
    before: u64,
    _folder: Folder,
}

impl Bench {
    fn start(reads: bool) -> Self {
        let store = Store::start(reads);
        let folder = Folder::new();
        folder.write("app.yaml", &app("HTTPRoute", RULES, &[store.address]));
        let gateway = Towergate::start(&folder, &["--access-log", "off"]);
        let before = status(&gateway, "VmRSS");
        Self {
            store,
            gateway,
            before,
            _folder: folder,
        }
    }

    /// Asserts that the memory growth is below the limit.
    fn check_memory(&self) {
        let grown = status(&self.gateway, "VmHWM").saturating_sub(self.before);
        assert!(grown < GROWTH, "grown by {} MiB", grown / MIB);
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.gateway.http).unwrap()
    }
}

/// Waits until `sent` stops growing. Returns its value.
fn until_it_stops(sent: &AtomicU64) -> u64 {
    let (mut last, mut since) = (0, Instant::now());
    eventually("the slow side stops the other", || {
        let now = sent.load(Ordering::Relaxed);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        (now > 0 && since.elapsed() > Duration::from_secs(1)).then_some(now)
    })
}

/// Returns a size in `/proc/PID/status`, in bytes.
fn status(gateway: &Towergate, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

fn download(mut stream: TcpStream) -> u64 {
    stream
        .write_all(b"GET /big HTTP/1.1\r\nHost: app.test\r\n\r\n")
        .unwrap();
    let mut reader = BufReader::new(stream);
    let (_, length) = read_head(&mut reader).unwrap();
    take(&mut reader, length)
}

/// Sends a body. Returns the number of bytes that the backend received.
fn upload(mut stream: TcpStream, sent: &AtomicU64) -> u64 {
    write!(
        stream,
        "POST /big HTTP/1.1\r\nHost: app.test\r\nContent-Length: {BODY}\r\n\r\n"
    )
    .unwrap();
    send(&mut stream, BODY, sent).unwrap();
    let mut reader = BufReader::new(stream);
    let (_, length) = read_head(&mut reader).unwrap();
    let mut text = vec![0; length as usize];
    reader.read_exact(&mut text).unwrap();
    String::from_utf8(text).unwrap().parse().unwrap()
}

#[test]
fn concurrent_large_bodies_arrive_complete_within_the_memory_limit() {
    let bench = Bench::start(true);

    thread::scope(|scope| {
        let clients: Vec<_> = (0..PARALLEL)
            .map(|number| {
                let stream = bench.connect();
                scope.spawn(move || match number % 2 {
                    0 => download(stream),
                    _ => upload(stream, &AtomicU64::new(0)),
                })
            })
            .collect();
        for client in clients {
            assert_eq!(client.join().unwrap(), BODY);
        }
    });

    bench.check_memory();
}

#[test]
fn a_client_that_does_not_read_stops_the_backend() {
    let bench = Bench::start(true);
    let mut stream = bench.connect();
    stream
        .write_all(b"GET /big HTTP/1.1\r\nHost: app.test\r\n\r\n")
        .unwrap();

    let sent = until_it_stops(&bench.store.sent);

    assert!(sent < IN_FLIGHT, "{} MiB are under way", sent / MIB);
    let mut reader = BufReader::new(stream);
    let (_, length) = read_head(&mut reader).unwrap();
    assert_eq!(take(&mut reader, length), BODY, "the rest comes, too");
    bench.check_memory();
}

#[test]
fn a_backend_that_does_not_read_stops_the_client() {
    let bench = Bench::start(false);
    let stream = bench.connect();
    let sent = Arc::<AtomicU64>::default();
    let count = sent.clone();
    let client = thread::spawn(move || upload(stream, &count));

    let sent = until_it_stops(&sent);

    assert!(sent < IN_FLIGHT, "{} MiB are under way", sent / MIB);
    bench.store.reads.store(true, Ordering::Relaxed);
    assert_eq!(client.join().unwrap(), BODY, "the rest comes, too");
    bench.check_memory();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_client_that_does_not_read_stops_the_backends_of_all_its_streams() {
    let bench = Bench::start(true);
    let stream = tokio::net::TcpStream::connect(bench.gateway.http)
        .await
        .unwrap();
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(64 << 10)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut bodies = Vec::new();
    for _ in 0..PARALLEL {
        let request = Request::get("http://app.test/big")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        bodies.push(response.into_body());
    }

    let sent = tokio::task::block_in_place(|| until_it_stops(&bench.store.sent));

    let most = PARALLEL * IN_FLIGHT / 2;
    assert!(sent < most, "{} MiB are under way", sent / MIB);
    let mut one = bodies.pop().unwrap();
    drop(bodies);
    let mut came = 0;
    while let Some(frame) = one.frame().await {
        came += frame
            .unwrap()
            .into_data()
            .map_or(0, |data| data.len() as u64);
    }
    assert_eq!(
        came, BODY,
        "a stream that is read must not wait for the others"
    );
    bench.check_memory();
}
