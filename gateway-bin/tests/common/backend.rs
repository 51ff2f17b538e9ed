//! A backend that returns the request as received.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A backend on loopback. The response body is the request head and body, byte for byte.
pub struct Backend {
    /// Address of the backend.
    pub address: SocketAddr,
    requests: Arc<AtomicU64>,
}

impl Backend {
    /// Starts a backend that serves until the process exits.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<AtomicU64>::default();
        let count = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let count = count.clone();
                std::thread::spawn(move || serve(stream, &count));
            }
        });
        Self { address, requests }
    }

    /// Returns the number of requests received.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

fn serve(stream: TcpStream, count: &AtomicU64) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(request) = read_request(&mut reader) {
        count.fetch_add(1, Ordering::Relaxed);
        let slow = request.starts_with(b"GET /slow");
        if slow {
            std::thread::sleep(std::time::Duration::from_millis(700));
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n",
            request.len()
        );
        if writer
            .write_all(head.as_bytes())
            .and_then(|()| writer.write_all(&request))
            .is_err()
        {
            return;
        }
    }
}

/// Reads a request with a `content-length` body. Returns `None` at the end of the connection.
fn read_request(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    let mut length = 0;
    loop {
        let start = request.len();
        if reader.read_until(b'\n', &mut request).ok()? == 0 {
            return None;
        }
        let line = &request[start..];
        if line == b"\r\n" {
            break;
        }
        let line = String::from_utf8_lossy(line).to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let head = request.len();
    request.resize(head + length, 0);
    reader.read_exact(&mut request[head..]).ok()?;
    Some(request)
}
