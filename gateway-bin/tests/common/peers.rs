//! HAProxy as the load balancer of direct mode, and nginx as the proxy of proxy mode.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use super::{Folder, Process, Towergate, eventually, free_port};

/// A load balancer or proxy in front of a gateway.
pub struct Front {
    _process: Process,
    _folder: Folder,
    /// Address for port 80.
    pub http: SocketAddr,
    /// Address for port 443.
    pub https: SocketAddr,
}

impl Front {
    /// Starts HAProxy in TCP mode. `option`, such as `send-proxy-v2`, selects the PROXY header of each
    /// connection.
    pub fn haproxy(gateway: &Towergate, option: &str) -> Self {
        let [http, https] = ports();
        let section = |name: &str, from: SocketAddr, to: SocketAddr| {
            format!("listen {name}\n  mode tcp\n  bind {from}\n  server gateway {to} {option}\n")
        };
        let config = format!(
            "global\n  maxconn 1000\ndefaults\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n{}{}",
            section("http", http, gateway.http),
            section("https", https, gateway.https),
        );
        let folder = Folder::new();
        folder.write("haproxy.cfg", &config);
        let mut command = Command::new("haproxy");
        command
            .arg("-db")
            .arg("-f")
            .arg(folder.path().join("haproxy.cfg"));
        Self::start(command, folder, http, https)
    }

    /// Starts nginx, which terminates TLS with its own certificate for `host`, sets `X-Forwarded-For` and
    /// `X-Real-IP`, and connects to the gateway over TLS with the SNI of the request.
    pub fn nginx(gateway: &Towergate, host: &str) -> Self {
        let [http, https] = ports();
        let folder = Folder::new();
        let path = folder.path().display().to_string();
        let made = super::run(
            env!("CARGO_BIN_EXE_towergate"),
            &["dev-cert", host, "--out", &path],
        );
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let headers = "proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; \
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; \
             proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Real-IP $remote_addr;";
        let config = format!(
            "daemon off; master_process off; pid {path}/nginx.pid; error_log stderr warn;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; client_body_temp_path {path}/b; proxy_temp_path {path}/p; \
             fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;\n\
             server {{ listen {http}; location / {{ {headers} proxy_pass http://{}; }} }}\n\
             server {{ listen {https} ssl; ssl_certificate {path}/tls.crt; ssl_certificate_key {path}/tls.key;\n\
             location / {{ {headers} proxy_ssl_server_name on; proxy_ssl_name $host; proxy_pass https://{}; }} }} }}\n",
            gateway.http, gateway.https,
        );
        folder.write("nginx.conf", &config);
        let mut command = Command::new("nginx");
        command
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(folder.path().join("nginx.conf"));
        Self::start(command, folder, http, https)
    }

    fn start(mut command: Command, folder: Folder, http: SocketAddr, https: SocketAddr) -> Self {
        let process = Process(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .unwrap_or_else(|error| {
                    panic!(
                        "{:?} cannot be started ({error}): see .ci/run for what to install",
                        command.get_program()
                    )
                }),
        );
        let listening = |address| std::net::TcpStream::connect(address).ok();
        eventually("the peer listens", || listening(http).and(listening(https)));
        Self {
            _process: process,
            _folder: folder,
            http,
            https,
        }
    }

    /// Returns values of `--connect-to` that direct `host` to this proxy.
    pub fn connect_to(&self, host: &str) -> [String; 2] {
        let to = |outside: u16, inside: SocketAddr| {
            format!("{host}:{outside}:127.0.0.1:{}", inside.port())
        };
        [to(80, self.http), to(443, self.https)]
    }
}

fn ports() -> [SocketAddr; 2] {
    [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())))
}
