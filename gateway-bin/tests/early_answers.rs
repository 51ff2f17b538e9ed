//! Responses that are sent before the request has been read completely.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use common::{Folder, Towergate};

const MANIFESTS: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: eg
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all}
spec:
  parentRefs: [{name: edge}]
  hostnames: [a.test]
  rules: [{backendRefs: [{name: hasty, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: hasty}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: hasty, labels: {kubernetes.io/service-name: hasty}}
addressType: IPv4
ports: [{port: PORT}]
endpoints: [{addresses: [127.0.0.1]}]
";

/// Starts a backend that responds as soon as it has read the request head. Returns its port.
fn hasty() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut head) = (stream.unwrap(), Vec::new());
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            // The connection stays open until the gateway closes it.
            std::thread::spawn(move || stream.read_to_end(&mut Vec::new()));
        }
    });
    port
}

#[test]
fn an_early_response_to_an_unfinished_request_has_connection_close() {
    let folder = Folder::new();
    folder.write("a.yaml", &MANIFESTS.replace("PORT", &hasty().to_string()));
    let gateway = Towergate::start(&folder, &[]);
    let mut client = TcpStream::connect(gateway.http).unwrap();

    let request =
        "POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();

    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
}

/// Frame types and flags (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// An HTTP/2 client that writes and reads frames.
struct Frames(TcpStream);

impl Frames {
    fn connect(gateway: &Towergate) -> Self {
        let stream = TcpStream::connect(gateway.http).unwrap();
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).unwrap();
        let mut frames = Self(stream);
        frames
            .0
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .unwrap();
        frames.send(SETTINGS, 0, 0, b"");
        frames
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [length[1], length[2], length[3], kind, flags];
        let frame = [&head, &stream.to_be_bytes()[..], payload].concat();
        self.0.write_all(&frame).unwrap();
    }

    /// Sends the head of `POST http://HOST/`, without the end of the stream (RFC 7541).
    fn post(&mut self, host: &str) {
        let mut block = b"\x83\x86\x84\x01".to_vec();
        block.push(u8::try_from(host.len()).unwrap());
        block.extend_from_slice(host.as_bytes());
        self.send(HEADERS, END_HEADERS, 1, &block);
    }

    /// The type, flags and payload of the next frame.
    fn next(&mut self) -> (u8, u8, Vec<u8>) {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).unwrap();
        (head[3], head[4], payload)
    }

    /// Reads up to the end of the response.
    fn response_end(&mut self) {
        loop {
            match self.next() {
                (HEADERS | DATA, flags, _) if flags & END_STREAM != 0 => return,
                (RST_STREAM, ..) => panic!("reset before the end of the response"),
                _ => {}
            }
        }
    }

    /// Sends a PING. Returns the types of the frames up to its reply.
    fn up_to_pong(&mut self) -> Vec<u8> {
        self.send(PING, 0, 0, b"all read");
        let mut kinds = Vec::new();
        loop {
            match self.next() {
                (PING, ACK, _) => return kinds,
                (kind, ..) => kinds.push(kind),
            }
        }
    }
}

#[test]
fn an_http2_client_may_end_its_request_after_the_response() {
    let folder = Folder::new();
    folder.write("a.yaml", &MANIFESTS.replace("PORT", &hasty().to_string()));
    let gateway = Towergate::start(&folder, &[]);

    for (host, replies) in [("elsewhere.test", "the gateway"), ("a.test", "the backend")] {
        let mut client = Frames::connect(&gateway);
        client.post(host);
        client.response_end();
        client.send(DATA, 0, 1, b"some");
        client.send(DATA, END_STREAM, 1, b" more");

        let frames = client.up_to_pong();
        assert!(
            !frames.contains(&RST_STREAM),
            "{replies} replies: {frames:?}"
        );
    }
}

#[test]
fn an_http2_request_that_does_not_end_after_the_response_is_reset_without_an_error() {
    let folder = Folder::new();
    folder.write("a.yaml", &MANIFESTS.replace("PORT", &hasty().to_string()));
    let gateway = Towergate::start(&folder, &[]);
    let mut client = Frames::connect(&gateway);

    client.post("elsewhere.test");
    client.response_end();
    let reset = loop {
        if let (RST_STREAM, _, code) = client.next() {
            break code;
        }
    };

    assert_eq!(reset, [0; 4], "NO_ERROR");
}
