//! Tests of HTTP/2 floods and decompression bombs. The connection is closed or throttled, the use of memory
//! is limited, and other clients are served.
#![cfg(target_os = "linux")] // Memory is read from /proc.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod lab;

use std::time::Duration;

use lab::{Lab, QUIET};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Error code (RFC 9113, section 7).
const ENHANCE_YOUR_CALM: u32 = 11;

/// Header blocks of `GET http://a/` and `POST http://a/`: indexed fields and one literal (RFC 7541).
const GET: &[u8] = b"\x82\x86\x84\x01\x01a";
const POST: &[u8] = b"\x83\x86\x84\x01\x01a";

/// Maximum memory growth caused by an attack, in bytes.
const MEMORY: usize = 32 << 20;
/// Size of a flood, in bytes.
const FLOOD: usize = 64 << 20;

/// Only one attack may run at a time, because memory is measured per process.
static TURN: Mutex<()> = Mutex::const_new(());

/// A frame (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head, &stream.to_be_bytes()[..], payload].concat()
}

/// HEADERS frame of `GET` of a path.
fn get(stream: u32, path: &str) -> Vec<u8> {
    let mut block = b"\x82\x86\x01\x01a\x04".to_vec();
    block.push(path.len() as u8);
    block.extend_from_slice(path.as_bytes());
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
}

fn client_streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

/// An attacking client, and another client that must not be affected.
struct Attack {
    lab: Lab,
    io: DuplexStream,
    bystander: DuplexStream,
    received: Vec<u8>,
    closed: bool,
    before: usize,
    _turn: MutexGuard<'static, ()>,
}

impl Attack {
    /// Connects both clients and sends the SETTINGS of the attacker.
    async fn new(settings: &[u8]) -> Self {
        let turn = TURN.lock().await;
        let lab = Lab::new().await;
        assert!(lab.serves().await);
        let (io, bystander) = (lab.connect(), lab.connect());
        let before = resident_memory();
        let mut attack = Self {
            lab,
            io,
            bystander,
            received: Vec::new(),
            closed: false,
            before,
            _turn: turn,
        };
        let opening = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &frame(SETTINGS, 0, 0, settings)[..],
        ];
        assert!(attack.send(opening.concat()).await);
        attack
    }

    /// Sends bytes and reads available bytes. Returns `false` if the connection is closed or blocked.
    async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = timeout(QUIET, self.io.write_all(bytes.as_ref())).await;
        self.take(Duration::ZERO).await;
        matches!(sent, Ok(Ok(()))) && !self.closed
    }

    /// Sends a frame repeatedly, at least 64 KiB at a time. Returns `false` if sending failed before
    /// [`FLOOD`] was reached.
    async fn flood(&mut self, frame: &[u8]) -> bool {
        let burst = frame.repeat((1 << 16) / frame.len() + 1);
        for _ in 0..FLOOD / burst.len() {
            if !self.send(&burst).await {
                return false;
            }
        }
        true
    }

    async fn take(&mut self, patience: Duration) {
        while !self.closed {
            match timeout(patience, self.io.read_buf(&mut self.received)).await {
                Ok(Ok(1..)) => {}
                Ok(_) => self.closed = true,
                Err(_) => return,
            }
        }
    }

    /// Error codes of the received GOAWAY frames.
    fn goodbyes(&self) -> Vec<u32> {
        let mut codes = Vec::new();
        let mut bytes = &self.received[..];
        while let [a, b, c, kind, rest @ ..] = bytes {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            if let (GOAWAY, Some(code)) = (*kind, rest.get(9..13)) {
                codes.push(u32::from_be_bytes(code.try_into().unwrap()));
            }
            bytes = rest.get(5 + length..).unwrap_or_default();
        }
        codes
    }

    /// Panics unless the attacker received a GOAWAY with this code and its connection was closed.
    async fn is_cut(&mut self, code: u32) {
        self.take(QUIET).await;
        assert_eq!(self.goodbyes().last(), Some(&code));
        assert!(self.closed, "still open");
    }

    /// Panics if memory grew beyond the limit, or the other client is not served.
    async fn harms_nobody(mut self) {
        let grown = resident_memory().saturating_sub(self.before);
        assert!(grown < MEMORY, "{} MiB more", grown >> 20);
        let request = b"GET / HTTP/1.1\r\nHost: b.test\r\n\r\n";
        self.bystander.write_all(request).await.unwrap();
        let answer = lab::rest(&mut self.bystander).await;
        assert!(
            answer.starts_with(b"HTTP/1.1 200"),
            "{}",
            answer.escape_ascii()
        );
        assert!(self.lab.serves().await);
    }
}

fn resident_memory() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test(start_paused = true)]
async fn streams_reset_at_once_close_the_connection() {
    let mut attack = Attack::new(&[]).await;

    for stream in client_streams().take(10_000) {
        let pair = [
            get(stream, "/wait"),
            frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
        ]
        .concat();
        if !attack.send(pair).await {
            break;
        }
    }

    attack.is_cut(ENHANCE_YOUR_CALM).await;
    assert!(attack.lab.forwarded() < 200);
    attack.harms_nobody().await;
}

#[tokio::test(start_paused = true)]
async fn streams_reset_after_forwarding_close_the_connection() {
    let mut attack = Attack::new(&[]).await;

    for stream in client_streams().take(1000) {
        if !attack.send(get(stream, "/wait")).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        let _ = attack
            .send(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]))
            .await;
    }

    attack.take(QUIET).await;
    assert!(attack.closed);
    assert!(
        (50..200).contains(&attack.lab.forwarded()),
        "{}",
        attack.lab.forwarded()
    );
    attack.harms_nobody().await;
}

#[tokio::test(start_paused = true)]
async fn provoked_stream_resets_close_the_connection() {
    let mut attack = Attack::new(&[]).await;
    let most = (i32::MAX as u32).to_be_bytes();

    for stream in client_streams().take(1000) {
        // Overflow of the window of a stream, which is a stream error.
        let overflow = frame(WINDOW_UPDATE, 0, stream, &most);
        if !attack.send([get(stream, "/wait"), overflow].concat()).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    attack.take(QUIET).await;
    assert!(attack.closed);
    assert!(attack.lab.forwarded() < 200, "{}", attack.lab.forwarded());
    attack.harms_nobody().await;
}

#[tokio::test(start_paused = true)]
async fn an_infinite_head_closes_the_connection() {
    let mut attack = Attack::new(&[]).await;
    attack.send(frame(HEADERS, END_STREAM, 1, GET)).await;
    // A literal without indexing: the name `x` and a value of 15 KiB.
    let mut field = b"\x00\x01x\x7f\x81\x77".to_vec();
    field.resize(6 + 127 + 0x3b81, b'a');

    let all = attack.flood(&frame(CONTINUATION, 0, 1, &field)).await;

    assert!(!all);
    attack.is_cut(ENHANCE_YOUR_CALM).await;
    assert_eq!(attack.lab.forwarded(), 0);
    attack.harms_nobody().await;
}

#[tokio::test(start_paused = true)]
async fn empty_continuation_frames_close_the_connection() {
    let mut attack = Attack::new(&[]).await;
    attack.send(frame(HEADERS, END_STREAM, 1, GET)).await;

    let all = attack.flood(&frame(CONTINUATION, 0, 1, &[])).await;

    assert!(!all);
    attack.is_cut(ENHANCE_YOUR_CALM).await;
    attack.harms_nobody().await;
}

#[tokio::test(start_paused = true)]
async fn heads_that_decompress_to_large_ones_are_rejected() {
    let mut attack = Attack::new(&[]).await;
    // A literal with indexing and a value of 3000 bytes, then 12,000 one-byte references to it.
    let mut block = [GET, b"\x40\x01x\x7f\xb9\x16"].concat();
    block.resize(block.len() + 3000, b'a');
    block.resize(block.len() + 12_000, 0xbe);

    for stream in client_streams().take(500) {
        if !attack
            .send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block))
            .await
        {
            break;
        }
    }

    attack.take(QUIET).await;
    assert_eq!(attack.lab.forwarded(), 0);
    attack.harms_nobody().await;
}

#[tokio::test(start_paused = true)]
async fn empty_data_frames_close_the_connection() {
    let mut attack = Attack::new(&[]).await;
    attack.send(frame(HEADERS, END_HEADERS, 1, POST)).await;

    let all = attack.flood(&frame(DATA, 0, 1, &[])).await;

    assert!(!all);
    attack.is_cut(ENHANCE_YOUR_CALM).await;
    attack.harms_nobody().await;
}

#[tokio::test(start_paused = true)]
async fn floods_that_require_replies_use_bounded_memory() {
    let pings = frame(PING, 0, 0, &[0; 8]).repeat(100_000);
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]).repeat(100_000);
    for burst in [pings, settings] {
        let mut attack = Attack::new(&[]).await;

        // The attacker first reads nothing, so that replies accumulate, and then reads them.
        let _ = timeout(QUIET, attack.io.write_all(&burst)).await;
        let grown = resident_memory().saturating_sub(attack.before);
        attack.take(QUIET).await;

        assert!(grown < MEMORY, "{} MiB more", grown >> 20);
        attack.harms_nobody().await;
    }
}

#[tokio::test(start_paused = true)]
async fn frames_without_effect_do_not_affect_others() {
    for burst in [
        frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]).repeat(100_000),
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(100_000),
        frame(0xbb, 0, 0, b"unknown").repeat(100_000),
    ] {
        let mut attack = Attack::new(&[]).await;

        attack.send(burst).await;

        attack.take(QUIET).await;
        attack.harms_nobody().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_dozen_connections_with_all_their_streams_leave_requests_to_others() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    // Each request needs two sockets.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(1 << 16), hard).unwrap();
    let mut attack = Attack::new(&[]).await;
    let opening = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &frame(SETTINGS, 0, 0, &[])[..],
    ];
    let mut connections: Vec<DuplexStream> = (0..12).map(|_| attack.lab.connect()).collect();

    for connection in &mut connections {
        connection.write_all(&opening.concat()).await.unwrap();
        let waiting: Vec<u8> = client_streams()
            .take(100)
            .flat_map(|stream| get(stream, "/wait"))
            .collect();
        connection.write_all(&waiting).await.unwrap();
        lab::rest(connection).await;
    }

    // Each connection may always have one request. The other requests were accepted in the order of arrival.
    assert!(
        (800..1024).contains(&attack.lab.forwarded()),
        "{}",
        attack.lab.forwarded()
    );
    attack.take(QUIET).await;
    attack.harms_nobody().await;
}

/// The codec drops pseudo-fields of trailers, so the gateway never receives them.
#[tokio::test(start_paused = true)]
async fn pseudo_fields_in_trailers_are_never_forwarded() {
    for field in [
        &b"\x84"[..],                               // :path: /
        b"\x44\x06/admin",                          // :path: /admin, with an indexed name
        b"\x00\x0a:authority\x01b",                 // with a literal name
        b"\x00\x01x\x01y\x00\x07:method\x06DELETE", // after a regular field
    ] {
        let mut attack = Attack::new(&[]).await;
        let before = attack.lab.forwarded();

        attack.send(frame(HEADERS, END_HEADERS, 1, POST)).await;
        attack.send(frame(DATA, 0, 1, b"body")).await;
        let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, field);
        attack.send(trailers).await;
        attack.take(QUIET).await;

        for request in attack.lab.requests().iter().skip(before) {
            let text = String::from_utf8_lossy(request).to_ascii_lowercase();
            assert!(text.starts_with("post / http/1.1\r\n"), "{text}");
            for forged in ["admin", "authority", "delete", "\n:"] {
                assert!(!text.contains(forged), "{text}");
            }
        }
        attack.harms_nobody().await;
    }
}

#[tokio::test(start_paused = true)]
async fn unread_responses_use_bounded_memory() {
    // With SETTINGS_INITIAL_WINDOW_SIZE 0, the gateway cannot send a response body.
    let mut attack = Attack::new(&[0, 4, 0, 0, 0, 0]).await;

    for stream in client_streams().take(200) {
        attack.send(get(stream, "/big")).await;
    }
    attack.take(QUIET).await;

    let heads = attack
        .received
        .windows(5)
        .filter(|head| head[3..] == [HEADERS, END_HEADERS]);
    assert!(heads.count() > 50, "heads are received without bodies");
    attack.harms_nobody().await;
}
