//! Tests of `--hand-over`: a process replaces another one, and no connection is lost.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use common::backend::Backend;
use common::{Folder, Process, curl, eventually, free_port};

const MANIFESTS: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: public, namespace: edge}
spec:
  gatewayClassName: eg
  listeners:
  - {name: web, port: 80, protocol: HTTP}
  - {name: dns, port: 53, protocol: UDP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: echo, namespace: edge}
spec:
  parentRefs: [{name: public}]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: edge}
spec: {ports: [{port: 80}]}
";

/// What all processes of a test share.
struct Host {
    folder: Folder,
    socket: PathBuf,
    http: u16,
    dns: u16,
    admin: u16,
    backend: Backend,
}

impl Host {
    fn new() -> Self {
        let folder = Folder::new();
        folder.write("gateway.yaml", MANIFESTS);
        Self {
            socket: folder.path().with_extension("sock"),
            folder,
            http: free_port(),
            dns: free_port(),
            admin: free_port(),
            backend: Backend::start(),
        }
    }

    /// Starts a process with this number of workers.
    fn start(&self, workers: u16, manifests: &Path) -> Process {
        let log = self.folder.path().with_extension(format!("{workers}.err"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_towergate"));
        command.arg("run").arg(manifests);
        command.args(["--bind", "127.0.0.1", "--access-log", "off"]);
        command.args(["--port", &format!("80={},53={}", self.http, self.dns)]);
        command.args(["--admin", &format!("127.0.0.1:{}", self.admin)]);
        command.args([
            "--endpoint",
            &format!("edge/echo:80={}", self.backend.address),
        ]);
        command.args(["--workers", &workers.to_string()]);
        command.arg("--hand-over").arg(&self.socket);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(log).unwrap());
        Process(command.spawn().unwrap())
    }

    fn is_ready(&self) -> bool {
        let url = format!("http://127.0.0.1:{}/ready", self.admin);
        curl(&[&url]).0.starts_with("HTTP/1.1 200")
    }

    fn log(&self, workers: u16) -> String {
        let log = self.folder.path().with_extension(format!("{workers}.err"));
        fs::read_to_string(log).unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.socket);
        for workers in 1..10 {
            let _ = fs::remove_file(self.folder.path().with_extension(format!("{workers}.err")));
        }
    }
}

/// Clients that send one request per connection, one connection after the other.
struct Stream {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Stream {
    fn start(port: u16) -> Self {
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let client = |_| {
            let (stop, sent) = (stop.clone(), sent.clone());
            spawn(move || {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    if let Err(error) = request(port) {
                        failures.push(error);
                    }
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                failures
            })
        };
        let clients = (0..8).map(client).collect();
        Self {
            stop,
            sent,
            clients,
        }
    }

    /// Waits until the clients have sent `count` more requests.
    fn progress(&self, count: usize) {
        let end = self.sent.load(Ordering::Relaxed) + count;
        eventually("the clients send requests", || {
            (self.sent.load(Ordering::Relaxed) >= end).then_some(())
        });
    }

    /// Stops the clients. Returns the number of requests, and the failures.
    fn finish(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let clients = self.clients.into_iter();
        let failures = clients.flat_map(|client| client.join().unwrap()).collect();
        (self.sent.load(Ordering::Relaxed), failures)
    }
}

fn request(port: u16) -> Result<(), String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let sent = stream.write_all(request);
    sent.map_err(|error| format!("write: {error}"))?;
    let mut response = String::new();
    let read = stream.read_to_string(&mut response);
    read.map_err(|error| format!("read: {error}"))?;
    match response.starts_with("HTTP/1.1 200 ") {
        true => Ok(()),
        false => Err(format!("response: {response:?}")),
    }
}

#[test]
fn no_connection_is_lost_while_processes_replace_each_other() {
    let host = Host::new();
    let mut current = host.start(2, host.folder.path());
    eventually("the first is ready", || host.is_ready().then_some(()));
    let stream = Stream::start(host.http);
    stream.progress(500);

    // The processes have 2, 4, 1 and 3 workers: the number rises and falls.
    for workers in [4, 1, 3] {
        let next = host.start(workers, host.folder.path());
        let status = eventually("the previous process exits", || {
            current.0.try_wait().unwrap()
        });
        assert_eq!(status.code(), Some(0));
        assert!(host.is_ready());
        stream.progress(500);
        current = next;
    }

    let (sent, failures) = stream.finish();
    assert!(sent >= 2000);
    assert_eq!(failures, [] as [String; 0], "of {sent}");
}

#[test]
fn a_process_that_cannot_start_leaves_the_running_one_in_service() {
    let host = Host::new();
    let mut current = host.start(2, host.folder.path());
    eventually("the first is ready", || host.is_ready().then_some(()));
    let stream = Stream::start(host.http);

    let mut failing = host.start(3, &host.folder.path().join("absent"));
    let status = eventually("the process exits", || failing.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(2));
    let mut killed = host.start(4, host.folder.path());
    eventually("the process has the sockets or is ready", || {
        host.log(2).contains("received the sockets").then_some(())
    });
    let _ = killed.0.kill();
    let _ = killed.0.wait();
    stream.progress(500);
    let (sent, _) = stream.finish();

    // The killed process was possibly ready. If not, the first process continues and can be replaced.
    assert!(sent >= 500);
    if current.0.try_wait().unwrap().is_none() {
        let _next = host.start(5, host.folder.path());
        let status = eventually("it is replaced", || current.0.try_wait().unwrap());
        assert_eq!(status.code(), Some(0));
        assert!(host.is_ready());
    }
}

#[test]
fn a_client_that_connects_before_and_sends_after_is_served() {
    let host = Host::new();
    let mut current = host.start(2, host.folder.path());
    eventually("the first is ready", || host.is_ready().then_some(()));
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.send_to(b"x", ("127.0.0.1", host.dns)).unwrap();

    let mut early: Vec<TcpStream> = (0..10)
        .map(|_| TcpStream::connect(("127.0.0.1", host.http)).unwrap())
        .collect();
    let _next = host.start(3, host.folder.path());
    eventually("the next one serves", || {
        host.log(3).contains("this process serves").then_some(())
    });

    for stream in &mut early {
        let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    }
    let status = eventually("the first exits", || current.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[test]
fn sigterm_without_a_successor_refuses_connections_at_once() {
    let host = Host::new();
    let mut current = host.start(2, host.folder.path());
    eventually("it is ready", || host.is_ready().then_some(()));
    let mut slow = TcpStream::connect(("127.0.0.1", host.http)).unwrap();
    slow.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    eventually("it is in flight", || {
        (host.backend.requests() == 1).then_some(())
    });

    let pid = current.0.id().to_string();
    common::run("kill", &["-TERM", &pid]);
    eventually("connections are refused", || {
        TcpStream::connect(("127.0.0.1", host.http)).err()
    });
    let mut response = String::new();
    slow.read_to_string(&mut response).unwrap();

    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    let status = eventually("the process exits", || current.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}
