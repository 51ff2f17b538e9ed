//! Shared code of the end-to-end tests: the `towergate` program, real clients and proxies, and a backend
//! that records requests.
//!
//! Every process and socket uses loopback and stops when its value is dropped.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its own part"
)]

pub(crate) mod backend;
pub(crate) mod findings;
pub(crate) mod grpc;
pub(crate) mod manifests;
pub(crate) mod peers;
pub(crate) mod web;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Ports of the tests. They are below the range of ephemeral ports, which the system assigns to clients.
const PORTS: std::ops::Range<u16> = 10_000..30_000;
/// Number of ports per test process.
const BLOCK: u16 = 200;

/// Returns a port that is free and that no other test gets.
pub fn free_port() -> u16 {
    static OURS: LazyLock<(u16, fs::File)> = LazyLock::new(lock_block);
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let port = OURS.0 + NEXT.fetch_add(1, Ordering::Relaxed) % BLOCK;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Reserves a block of ports. Returns its first port, and the lock file that reserves it.
fn lock_block() -> (u16, fs::File) {
    let lock = |first: u16| {
        let path = std::env::temp_dir().join(format!("towergate-test-ports-{first}"));
        let file = fs::File::create(path).unwrap();
        file.try_lock().is_ok().then_some((first, file))
    };
    let mut blocks = PORTS.step_by(BLOCK.into());
    blocks
        .find_map(lock)
        .expect("fewer than a hundred test processes")
}

/// Waits until `check` returns a value. Panics with `what` after 15 s.
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(15);
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < end, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a program to completion.
pub fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| {
            panic!("{program} cannot be started ({error}): see .ci/run for what to install")
        })
}

/// Runs `curl` with a time limit. Returns its output, including response headers, and its exit status.
pub fn curl(args: &[&str]) -> (String, i32) {
    let mut all = vec!["-sS", "-i", "--max-time", "10"];
    all.extend(args);
    let output = run("curl", &all);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (text.into_owned(), output.status.code().unwrap_or(-1))
}

/// A process that is killed on drop.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder that is removed on drop.
pub struct Folder(PathBuf);

impl Folder {
    /// Creates an empty folder.
    pub fn new() -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("towergate-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file atomically.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let fresh = path.with_extension("tmp");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, path).unwrap();
    }

    /// Copies a file, or the files of a folder, from `tests/`.
    pub fn copy(&self, from: &str) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests")
            .join(from);
        let files = match fs::read_dir(&source) {
            Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
            Err(_) => vec![source],
        };
        for file in files {
            let name = file.file_name().unwrap().to_str().unwrap();
            self.write(name, &fs::read_to_string(&file).unwrap());
        }
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.0.join(name)).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The `towergate` program, serving the manifests of a folder.
pub struct Towergate {
    process: Process,
    /// Address that serves port 80 of the manifests.
    pub http: SocketAddr,
    /// Address that serves port 443 of the manifests.
    pub https: SocketAddr,
    /// Address of the admin endpoints.
    pub admin: SocketAddr,
    log: PathBuf,
}

impl Towergate {
    /// Starts the program on `folder` and waits until it is ready.
    pub fn start(folder: &Folder, args: &[&str]) -> Self {
        let [http, https, admin] =
            [(); 3].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let log = folder.path().with_extension("log");
        let process = Command::new(env!("CARGO_BIN_EXE_towergate"))
            .arg("run")
            .arg(folder.path())
            .args(["--bind", "127.0.0.1", "--workers", "2"])
            .args([
                "--port",
                &format!("80={}", http.port()),
                "--port",
                &format!("443={}", https.port()),
            ])
            .args(["--admin", &admin.to_string()])
            .args(args)
            .stdin(Stdio::null())
            .stdout(fs::File::create(&log).unwrap())
            .stderr(fs::File::create(log.with_extension("err")).unwrap())
            .spawn()
            .unwrap();
        let this = Self {
            process: Process(process),
            http,
            https,
            admin,
            log,
        };
        eventually("the gateway is ready", || this.ready().then_some(()));
        this
    }

    /// Whether `/ready` returns 200.
    pub fn ready(&self) -> bool {
        curl(&[&format!("http://{}/ready", self.admin)])
            .0
            .starts_with("HTTP/1.1 200")
    }

    /// Returns the process ID.
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Sends a signal, such as `TERM`, to the process.
    pub fn signal(&self, name: &str) {
        run("kill", &[&format!("-{name}"), &self.pid().to_string()]);
    }

    /// Waits until the process exits. Returns its exit status.
    pub fn wait(&mut self) -> Option<i32> {
        let process = &mut self.process.0;
        eventually("the gateway exits", || process.try_wait().unwrap()).code()
    }

    /// Returns standard output, which contains the access log, and standard error.
    pub fn output(&self) -> String {
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        read(&self.log) + &read(&self.log.with_extension("err"))
    }

    /// Returns the access log entries of `path`.
    pub fn access_log(&self, path: &str) -> Vec<serde_json::Value> {
        self.output()
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|entry| entry["x-envoy-origin-path"] == path)
            .collect()
    }

    /// Returns values of `--connect-to` that direct `host` to this gateway.
    pub fn connect_to(&self, host: &str) -> [String; 2] {
        let to = |outside: u16, inside: SocketAddr| {
            format!("{host}:{outside}:127.0.0.1:{}", inside.port())
        };
        [to(80, self.http), to(443, self.https)]
    }
}

impl Drop for Towergate {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("-- output of the gateway:\n{}", self.output());
        }
        let _ = fs::remove_file(self.log.with_extension("err"));
        let _ = fs::remove_file(&self.log);
    }
}

/// Returns the manifest of a TLS Secret with a new self-signed certificate.
pub fn tls_secret(namespace: &str, name: &str, host: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_towergate"))
        .args(["dev-cert", host, "--secret", &format!("{namespace}/{name}")])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `curl` on `url` with `connect_to`, without certificate verification.
pub fn fetch(connect_to: &[String; 2], args: &[&str], url: &str) -> (String, i32) {
    let mut all = vec![
        "-k",
        "--connect-to",
        &*connect_to[0],
        "--connect-to",
        &*connect_to[1],
    ];
    all.extend(args);
    all.push(url);
    curl(&all)
}
