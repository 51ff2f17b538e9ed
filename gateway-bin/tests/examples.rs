//! Tests of the configurations in `examples/`. Each has no findings, and behaves as its comments state, with
//! real clients and servers.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use common::web::Nginx;
use common::{Folder, Process, Towergate, curl, eventually, fetch, free_port, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Token signed with the key of `examples/api-platform`: issuer `https://id.example.com`, audience `shop`,
/// subject `bob`.
const TOKEN: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImV4YW1wbGUifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjoic2hvcCIsInN1YiI6ImJvYiIsImdyb3VwcyI6WyJzdGFmZiJdLCJleHAiOjQwNzA5MDg4MDB9.D0ummXWgqaxVSNar_MwAxJQeKW7smHilTARyTW72LoHotfdwZwNeJpeRnAVQ0LNkIQYXfofhF4CSjJuWF-28hA";

/// One of the configurations, and the gateway that serves it.
struct Example {
    gateway: Towergate,
    _folder: Folder,
}

impl Example {
    /// Serves `examples/NAME`. `services` are the addresses of Services, such as `auth/authelia:80`.
    fn serve(name: &str, services: &[(&str, SocketAddr)], options: &[&str]) -> Self {
        let folder = Folder::new();
        folder.copy(&format!("../../examples/{name}"));
        let endpoints: Vec<String> = services
            .iter()
            .map(|(service, address)| format!("--endpoint={service}={address}"))
            .collect();
        let args: Vec<&str> = endpoints.iter().map(String::as_str).collect();
        let about_service = |option: &&str| option.starts_with("--rate-limit-service");
        let checked: Vec<&str> = options
            .iter()
            .copied()
            .filter(about_service)
            .chain(args.iter().copied())
            .collect();
        let path = folder.path().to_str().unwrap();
        let found = run(
            env!("CARGO_BIN_EXE_towergate"),
            &[&["check", path], &*checked].concat(),
        );
        let found = String::from_utf8_lossy(&found.stdout);
        assert_eq!(found, "no findings\n", "{name}");
        let gateway = Towergate::start(&folder, &[&args, options].concat());
        Self {
            gateway,
            _folder: folder,
        }
    }

    /// The response to a request, in lower case.
    fn get(&self, url: &str, args: &[&str]) -> String {
        let host = url.split('/').nth(2).unwrap();
        let (response, _) = fetch(&self.gateway.connect_to(host), args, url);
        response.to_ascii_lowercase()
    }
}

/// Asserts that a response has a status and contains each of `parts`.
#[track_caller]
fn assert_response(response: &str, status: &str, parts: &[&str]) {
    let line = response.lines().next().unwrap_or_default();
    assert_eq!(line.split(' ').nth(1), Some(status), "{response}");
    for part in parts {
        assert!(response.contains(part), "{part} is missing: {response}");
    }
}

/// nginx as Authelia: requests with the session `ada` pass, other requests are redirected to the portal.
fn authelia() -> Nginx {
    Nginx::start(
        "location /api/authz/ext-authz/ {\n\
           if ($cookie_authelia_session = ada) { add_header remote-user ada; return 200; }\n\
           return 302 https://auth.home.example.com/?rd=https://sonarr.home.example.com/;\n\
         }\n\
         location / { return 200 'the portal'; }",
    )
}

#[test]
fn the_home_lab_lets_each_application_decide_who_may_use_it() {
    let authelia = authelia();
    let home = Example::serve("home-lab", &[("auth/authelia:80", authelia.address)], &[]);

    let plain = home.get("http://sonarr.home.example.com/", &[]);
    let redirect = "location: https://sonarr.home.example.com/";
    assert_response(&plain, "301", &[redirect]);

    let portal = home.get("https://auth.home.example.com/", &[]);
    assert_response(&portal, "200", &["the portal"]);

    let sonarr = "https://sonarr.home.example.com/";
    let login = "location: https://auth.home.example.com/?rd=";
    assert_response(&home.get(sonarr, &[]), "302", &[login]);
    let ada = [
        "-H",
        "cookie: authelia_session=ada",
        "-H",
        "remote-user: root",
    ];
    let seen = home.get(sonarr, &ada);
    assert_response(&seen, "200", &[r#""remote-user": "ada""#]);

    let grafana = "https://grafana.home.example.com/";
    let login = "location: https://id.home.example.com/authorize?";
    assert_response(
        &home.get(grafana, &[]),
        "302",
        &[login, "client_id=grafana"],
    );
    let program = ["-H", "accept: application/json"];
    assert_response(&home.get(grafana, &program), "401", &[]);

    let prometheus = "https://prometheus.home.example.com/";
    assert_response(&home.get(prometheus, &[]), "200", &[]);
    let stranger = ["--interface", "127.9.9.9"];
    assert_response(&home.get(prometheus, &stranger), "403", &[]);

    let brotli = ["-H", "accept-encoding: br", "-o", "/dev/null", "-D", "-"];
    let film = home.get("https://jellyfin.home.example.com/", &brotli);
    assert_response(&film, "200", &["content-encoding: br"]);
}

#[test]
fn the_home_lab_denies_requests_while_the_portal_is_away() {
    let away = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let home = Example::serve("home-lab", &[("auth/authelia:80", away)], &[]);

    let cookie = ["-H", "cookie: authelia_session=ada"];
    assert_response(
        &home.get("https://sonarr.home.example.com/", &cookie),
        "403",
        &[],
    );
}

/// The rate limits themselves are tested with a real service in `.ci/rate_limit`.
#[test]
fn the_api_platform_admits_callers_with_a_token() {
    let away = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let service = format!("--rate-limit-service={away}");
    let platform = Example::serve("api-platform", &[], &[&service]);
    let reports = "https://api.example.com/reports/2026";
    let bearer = format!("authorization: Bearer {TOKEN}");

    assert_response(
        &platform.get(reports, &[]),
        "401",
        &["www-authenticate: bearer"],
    );
    let forged = ["-H", &*bearer, "-H", "x-caller: alice"];
    let seen = platform.get(reports, &forged);
    assert_response(
        &seen,
        "200",
        &[r#""x-caller": "bob""#, r#""path": "/2026""#],
    );
    let second = ["-H", &*bearer, "-H", "x-version: v2"];
    assert_response(
        &platform.get(reports, &second),
        "200",
        &[r#""x-version": "v2""#],
    );
    let underscore = ["-H", &*bearer, "-H", "x_caller: alice"];
    assert_response(&platform.get(reports, &underscore), "400", &[]);

    let preflight = [
        "-X",
        "OPTIONS",
        "-H",
        "origin: https://console.example.com",
        "-H",
        "access-control-request-method: PUT",
    ];
    let allowed = "access-control-allow-origin: https://console.example.com";
    assert_response(&platform.get(reports, &preflight), "200", &[allowed]);
}

#[test]
fn the_static_site_is_compressed_and_has_its_own_error_pages() {
    let files = Folder::new();
    files.write(
        "index.html",
        &format!("<h1>Home</h1>{}", "<p>text</p>".repeat(100)),
    );
    files.write("assets/app.js", &"console.log(1);\n".repeat(100));
    let nginx = Nginx::start(&format!(
        "root {}; types {{ text/html html; application/javascript js; }}",
        files.path().display()
    ));
    let site = Example::serve("static-site", &[("web/nginx:80", nginx.address)], &[]);

    let apex = "location: https://example.com/a?b=c";
    for url in [
        "http://example.com/a?b=c",
        "http://www.example.com/a?b=c",
        "https://www.example.com/a?b=c",
    ] {
        assert_response(&site.get(url, &[]), "301", &[apex]);
    }
    let page = site.get("https://example.com/", &["--compressed"]);
    let encodings = ["content-encoding: br", "content-encoding: gzip"];
    assert!(encodings.iter().any(|one| page.contains(one)), "{page}");
    assert_response(
        &page,
        "200",
        &[
            "<h1>home</h1>",
            "cache-control: no-cache",
            "strict-transport-security:",
        ],
    );
    assert!(!page.contains("server: nginx"), "{page}");
    let script = site.get(
        "https://example.com/assets/app.js",
        &["-H", "accept-encoding: gzip", "-o", "/dev/null", "-D", "-"],
    );
    assert_response(&script, "200", &["content-encoding: gzip", "immutable"]);
    let robots = site.get("https://example.com/robots.txt", &[]);
    assert_response(
        &robots,
        "200",
        &["content-type: text/plain", "disallow: /search"],
    );
    let missing = site.get("https://example.com/missing", &[]);
    assert_response(
        &missing,
        "404",
        &["this page does not exist", "content-type: text/html"],
    );

    drop(nginx);
    let away = site.get("https://example.com/", &[]);
    assert_response(&away, "503", &["back soon"]);
}

/// A gRPC message of no fields: not compressed, length 0.
const EMPTY_MESSAGE: &[u8] = &[0; 5];

#[tokio::test(flavor = "multi_thread")]
async fn the_grpc_service_routes_by_method() {
    let backend = common::grpc::health_server().await;
    let grpc = Example::serve("grpc-service", &[("orders/orders:50051", backend)], &[]);
    let message = Folder::new();
    std::fs::write(message.path().join("message"), EMPTY_MESSAGE).unwrap();
    let body = format!("@{}/message", message.path().display());
    let call = |method: &str, args: &[&str]| {
        let request = [
            "-H",
            "content-type: application/grpc",
            "-H",
            "te: trailers",
            "--data-binary",
            &*body,
            "-o",
            "/dev/null",
            "-D",
            "-",
        ];
        grpc.get(
            &format!("https://grpc.example.com/{method}"),
            &[&request, args].concat(),
        )
    };

    assert_response(
        &call("grpc.health.v1.Health/Check", &[]),
        "200",
        &["grpc-status: 0"],
    );
    assert_response(&call("shop.Other/Method", &[]), "200", &["grpc-status: 12"]);
    // The stream of `Watch` has no end. Its first message is sent at once.
    let watch = call("grpc.health.v1.Health/Watch", &["--max-time", "1"]);
    assert_response(&watch, "200", &["content-type: application/grpc"]);
    let old = curl(&[
        "-k",
        "--http1.1",
        "--no-alpn",
        "--connect-to",
        &grpc.gateway.connect_to("grpc.example.com")[1],
        "https://grpc.example.com/",
    ]);
    assert!(!old.0.starts_with("HTTP/1.1 200"), "{old:?}");
}

/// A TLS server with a certificate for `host`.
struct TlsDatabase {
    address: SocketAddr,
    certificate: String,
    _files: Folder,
    _process: Process,
}

impl TlsDatabase {
    fn start(host: &str) -> Self {
        let files = Folder::new();
        let folder = files.path().display().to_string();
        run(
            env!("CARGO_BIN_EXE_towergate"),
            &["dev-cert", host, "--out", &folder],
        );
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let certificate = format!("{folder}/tls.crt");
        let process = Command::new("openssl")
            .args([
                "s_server",
                "-quiet",
                "-www",
                "-accept",
                &address.to_string(),
            ])
            .args(["-cert", &certificate, "-key", &format!("{folder}/tls.key")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the database listens", || {
            std::net::TcpStream::connect(address).ok()
        });
        Self {
            address,
            certificate,
            _files: files,
            _process: Process(process),
        }
    }
}

fn redis() -> (SocketAddr, Process) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let process = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
        .args(["--save", "", "--appendonly", "no"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("redis listens", || {
        std::net::TcpStream::connect(address).ok()
    });
    (address, Process(process))
}

/// The reply to `PING` from a client at `source`. Empty if the connection is closed.
async fn ping(port: u16, source: &str) -> String {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    let _ = stream.write_all(b"PING\r\n").await;
    let mut answer = [0; 7];
    let read = stream.read(&mut answer).await.unwrap_or(0);
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_databases_are_chosen_by_server_name_and_the_cache_by_port() {
    let [orders, users] = ["orders.db.example.com", "users.db.example.com"].map(TlsDatabase::start);
    let (cache, _redis) = redis();
    let [tls, tcp] = [free_port(), free_port()];
    let services = [
        ("data/orders-db:5432", orders.address),
        ("data/users-db:5432", users.address),
        ("data/cache:6379", cache),
    ];
    let ports = [format!("--port=5432={tls}"), format!("--port=6379={tcp}")];
    let _data = Example::serve("database", &services, &[&ports[0], &ports[1]]);

    let handshake = |host: &str, certificate: &str| {
        let to = format!("{host}:5432:127.0.0.1:{tls}");
        let url = format!("https://{host}:5432/");
        curl(&["--cacert", certificate, "--connect-to", &to, &url]).1
    };
    assert_eq!(handshake("orders.db.example.com", &orders.certificate), 0);
    assert_eq!(handshake("users.db.example.com", &users.certificate), 0);
    assert_ne!(handshake("other.db.example.com", &users.certificate), 0);

    assert_eq!(ping(tcp, "127.0.0.1").await, "+PONG\r\n");
    assert_eq!(ping(tcp, "127.9.9.9").await, "");
}
