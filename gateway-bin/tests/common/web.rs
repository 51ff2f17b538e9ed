//! nginx as a web server behind the gateway.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use super::{Folder, Process, eventually, free_port};

/// An nginx with one server on loopback. It stops when the value is dropped.
pub struct Nginx {
    _process: Process,
    _folder: Folder,
    /// Address of the server.
    pub address: SocketAddr,
}

impl Nginx {
    /// Starts nginx with `directives` in its only `server` block.
    pub fn start(directives: &str) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = Folder::new();
        let path = folder.path().display().to_string();
        let config = format!(
            "daemon off; master_process off; pid {path}/nginx.pid; error_log stderr crit;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; client_body_temp_path {path}/b; proxy_temp_path {path}/p; \
             fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;\n\
             server {{ listen {address};\n{directives}\n}} }}\n"
        );
        folder.write("nginx.conf", &config);
        let process = Command::new("nginx")
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(folder.path().join("nginx.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("nginx is installed: see .ci/run");
        let process = Process(process);
        eventually("nginx listens", || {
            std::net::TcpStream::connect(address).ok()
        });
        Self {
            _process: process,
            _folder: folder,
            address,
        }
    }
}
