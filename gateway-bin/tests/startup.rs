//! Errors at the start of `towergate run`. Each message states cause and remedy, and no traffic is served.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::process::{Command, Output};

use common::{Folder, Towergate, curl, eventually, free_port};

const PROGRAM: &str = env!("CARGO_BIN_EXE_towergate");

fn gateway(name: &str, protocol: &str, port: u16) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: edge}}
spec:
  gatewayClassName: eg
  listeners: [{{name: web, port: {port}, protocol: {protocol}}}]
---
"
    )
}

fn folder(manifests: &str) -> Folder {
    let folder = Folder::new();
    folder.write("gateway.yaml", manifests);
    folder
}

/// Runs a program that must fail.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        !stderr(&output).contains("in service"),
        "{}",
        stderr(&output)
    );
    output
}

fn towergate(folder: &Folder, args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("run").arg(folder.path()).args(args);
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_port_of_another_process_is_reported_with_listener_and_flags() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = folder(&gateway("public", "HTTP", 80));

    let map = format!("80={port}");
    let args = ["--bind", "127.0.0.1", "--admin", "off", "--port", &map];
    let text = stderr(&run(&mut towergate(&folder, &args)));

    let expected = format!(
        "listener edge/public/web: cannot listen on 127.0.0.1:{port}: another process listens on this port"
    );
    assert!(text.contains(&expected), "{text}");
    assert!(text.contains("--port 80="), "{text}");
}

#[test]
fn a_datagram_port_of_another_process_is_reported() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = folder(&gateway("dns", "UDP", 53));

    let map = format!("53={port}");
    let args = ["--bind", "127.0.0.1", "--admin", "off", "--port", &map];
    let text = stderr(&run(&mut towergate(&folder, &args)));

    assert!(text.contains("listener edge/dns/web: "), "{text}");
    assert!(text.contains("another process listens"), "{text}");
}

#[test]
fn a_second_gateway_on_one_port_fails_unless_ports_are_shared() {
    let folder = folder(&gateway("public", "HTTP", 80));
    let first = Towergate::start(&folder, &[]);
    let map = format!("80={}", first.http.port());
    let args = ["--bind", "127.0.0.1", "--admin", "off", "--port", &map];

    let text = stderr(&run(&mut towergate(&folder, &args)));
    assert!(text.contains("another process listens"), "{text}");
    assert!(text.contains("--reuse-port"), "{text}");

    let shared = [&["--reuse-port", "--port", &*map], &[][..]].concat();
    let second = Towergate::start(&folder, &shared);
    assert!(second.ready());
}

#[test]
fn a_privileged_port_without_the_capability_is_reported() {
    let start = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let start: u16 = start.map_or(1024, |text| text.trim().parse().unwrap());
    if start <= 80 {
        // On this system, every user can bind port 80.
        return;
    }
    let folder = folder(&gateway("public", "HTTP", 80));
    let mut command = Command::new("setpriv");
    command.args([
        "--bounding-set=-net_bind_service",
        "--inh-caps=-net_bind_service",
    ]);
    command.arg(PROGRAM).arg("run").arg(folder.path());
    command.args(["--bind", "127.0.0.1", "--admin", "off"]);

    let text = stderr(&run(&mut command));

    assert!(text.contains("listener edge/public/web: "), "{text}");
    assert!(text.contains("permission denied"), "{text}");
    assert!(text.contains("CAP_NET_BIND_SERVICE"), "{text}");
    assert!(text.contains("--port 80=8080"), "{text}");
}

#[test]
fn an_admin_port_in_use_is_reported_before_anything_is_served() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = folder(&gateway("public", "HTTP", 80));
    let map = format!("80={}", free_port());

    for flag in ["--admin", "--health"] {
        let mut args = vec!["--bind", "127.0.0.1", "--port", &map, flag, &address];
        if flag == "--health" {
            args.extend(["--admin", "off"]);
        }
        let text = stderr(&run(&mut towergate(&folder, &args)));

        assert!(
            text.contains(&format!("{flag} {address}: cannot listen")),
            "{text}"
        );
        assert!(text.contains("choose another address"), "{text}");
    }
}

#[test]
fn an_address_of_no_interface_is_reported() {
    let folder = folder(&gateway("public", "HTTP", 8080));

    let args = ["--bind", "192.0.2.1", "--admin", "off"];
    let text = stderr(&run(&mut towergate(&folder, &args)));

    assert!(
        text.contains("no interface of this host has this address"),
        "{text}"
    );
    assert!(text.contains("--bind"), "{text}");
}

#[test]
fn after_the_start_a_port_in_use_blocks_its_own_listener_only() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = folder(&gateway("public", "HTTP", 80));
    let towergate = Towergate::start(&folder, &["--poll-interval", "200ms"]);

    let free = free_port();
    folder.write(
        "more.yaml",
        &(gateway("blocked", "HTTP", port) + &gateway("free", "HTTP", free)),
    );
    let responds = |port: u16| {
        let url = format!("http://127.0.0.1:{port}/");
        curl(&[&url]).0.starts_with("HTTP/1.1 404").then_some(())
    };
    eventually("the free port is served", || responds(free));

    let log = towergate.output();
    let blocked = format!("listener edge/blocked/web: cannot listen on 127.0.0.1:{port}");
    assert_eq!(log.matches(&blocked).count(), 1, "{log}");
    let metric = |value: u8| {
        let page = curl(&[&format!("http://{}/stats/prometheus", towergate.admin)]).0;
        page.contains(&format!("\ntowergate_config_unbound_addresses {value}\n"))
    };
    assert!(metric(1));
    drop(taken);
    eventually("the blocked port is served", || responds(port));
    eventually("the metric is 0", || metric(0).then_some(()));
}
