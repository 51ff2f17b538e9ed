//! Runs the `towergate` program as a data plane, and a server for it.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use towergate_core::plan::{PathMatch, Plan, Route, Rule};
use towergate_policy::Policy;

use crate::serve::{CertificateAuthority, PlaneReport, Publisher, Tls, run};

/// Polls `check` until it returns a value. Panics with `what` after 60 seconds.
pub(super) async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A TCP port of the loopback address that was free at the time of the call.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// The path of the `towergate` program. The test builds it, because Cargo does not build programs of other
/// packages for a test.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--package", "towergate", "--bin", "towergate"])
            .arg("--message-format=json-render-diagnostics")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(built.status.success(), "the data plane cannot be built");
        let messages = String::from_utf8(built.stdout).unwrap();
        let messages = messages
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let mut programs =
            messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
        programs.next_back().expect("it is a program")
    })
}

/// A data plane process. It is killed on drop.
pub(super) struct DataPlane {
    child: Child,
    pub(super) admin: SocketAddr,
    log: PathBuf,
}

impl DataPlane {
    /// Starts a data plane that connects to `server`, with credentials and state in `folder`.
    pub(super) fn start(server: SocketAddr, folder: &Path) -> Self {
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let log = folder.join(format!("log-{}", admin.port()));
        let child = Command::new(program())
            .args(["run", "--workers", "1", "--access-log", "off", "--from"])
            .arg(format!("https://{server}"))
            .arg("--credentials")
            .arg(folder)
            .arg("--state")
            .arg(folder.join("state"))
            .args(["--admin", &admin.to_string()])
            .args(["--poll-interval", "1s"])
            .env("POD_NAME", "pod-1")
            .stdin(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, admin, log }
    }

    /// The log of the process.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Whether `/ready` returns 200.
    pub(super) async fn is_ready(&self) -> bool {
        status(self.admin, "/ready").await == Some(200)
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("-- log of the data plane:\n{}", self.log());
        }
    }
}

/// A server for data planes. It is aborted on drop.
pub(super) struct Server {
    pub(super) publisher: Publisher,
    pub(super) address: SocketAddr,
    pub(super) tls: Tls,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts a server on `port`. 0: any free port.
    pub(super) async fn start(authority: &CertificateAuthority, port: u16) -> Self {
        let bind = || async {
            tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .await
                .ok()
        };
        let listener = eventually("the port is free", async || bind().await).await;
        let credentials = authority.controller(SystemTime::now()).unwrap();
        let tls = Tls::new(&credentials).unwrap();
        let publisher = Publisher::default();
        let address = listener.local_addr().unwrap();
        let served = run(
            listener,
            tls.clone(),
            publisher.clone(),
            std::future::pending(),
        );
        let task = tokio::spawn(async { served.await.unwrap() });
        Self {
            publisher,
            address,
            tls,
            task,
        }
    }

    /// The current report of a plane. Default: empty.
    pub(super) fn report(&self, plane: &str) -> PlaneReport {
        let reports = self.publisher.reports();
        let reports = reports.borrow();
        reports.planes.get(plane).cloned().unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A plan with one port. Each route is a path prefix whose rule replies locally with a status.
pub(super) fn plan(port: u16, routes: &[(&str, u16)]) -> Arc<Plan<Policy>> {
    let routes = routes.iter().map(|(path, status)| {
        let mut rule = Rule::new(PathMatch::Prefix((*path).to_owned()));
        rule.respond = Some(*status);
        Route::new(
            "team",
            &format!("route{}", path.replace('/', "-")),
            vec![rule],
        )
    });
    let mut plan = Plan::http("team", "edge", port, routes.collect());
    plan.ports[0].addresses = vec![Ipv4Addr::LOCALHOST.into()];
    Arc::new(plan)
}

/// The status of the response to a GET request. `None`: no response.
pub(super) async fn status(address: SocketAddr, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}
