//! Configuration changes under load: no request fails, no connection is closed, and invalid changes have no
//! effect.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::backend::Backend;
use common::manifests::app;
use common::{Folder, Towergate, curl, eventually};

/// Manifests of a Gateway on port 80, and of a route to a Service. A response header contains `revision`.
fn manifests(backend: SocketAddr, revision: u32) -> String {
    let set = format!("{{name: x-revision, value: \"{revision}\"}}");
    let rules = format!(
        "{{filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{set}]}}}}], \
         backendRefs: [{{name: app, port: 80}}]}}"
    );
    app("HTTPRoute", &rules, &[backend])
}

fn revision(gateway: &Towergate) -> Option<u32> {
    let (response, _) = curl(&[&format!("http://{}/", gateway.http)]);
    let line = response
        .lines()
        .find_map(|line| line.strip_prefix("x-revision: "))?;
    line.trim().parse().ok()
}

/// Sends requests over one connection until `stop` is set, and counts them in `served`. Panics if one
/// fails.
fn load(
    gateway: SocketAddr,
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(gateway).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut buffer = [0; 4096];
        while !stop.load(Ordering::Relaxed) {
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
                .unwrap();
            let mut response = Vec::new();
            while !complete(&response) {
                let read = stream.read(&mut buffer).unwrap();
                assert_ne!(read, 0, "closed: {}", String::from_utf8_lossy(&response));
                response.extend_from_slice(&buffer[..read]);
            }
            assert!(
                response.starts_with(b"HTTP/1.1 200"),
                "{}",
                String::from_utf8_lossy(&response)
            );
            served.fetch_add(1, Ordering::Relaxed);
        }
    })
}

fn complete(response: &[u8]) -> bool {
    let text = String::from_utf8_lossy(response).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap_or("0");
    body.len() >= length.trim().parse().unwrap()
}

#[test]
fn thirty_changes_under_load_fail_no_request_and_close_no_connection() {
    let backend = Backend::start();
    let folder = Folder::new();
    folder.write("app.yaml", &manifests(backend.address, 0));
    let gateway = Towergate::start(&folder, &["--access-log", "off"]);
    let (stop, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let loads: Vec<_> = (0..8)
        .map(|_| load(gateway.http, stop.clone(), served.clone()))
        .collect();

    for revision in 1..=30 {
        folder.write("app.yaml", &manifests(backend.address, revision));
        std::thread::sleep(Duration::from_millis(100));
    }
    eventually("the last change is in force", || {
        (revision(&gateway)? == 30).then_some(())
    });
    stop.store(true, Ordering::Relaxed);

    for load in loads {
        load.join()
            .expect("no request fails and no connection is closed");
    }
    assert!(served.load(Ordering::Relaxed) > 100, "there was load");
}

#[test]
fn an_invalid_file_keeps_the_last_good_configuration_and_is_logged() {
    let backend = Backend::start();
    let folder = Folder::new();
    folder.write("app.yaml", &manifests(backend.address, 1));
    let gateway = Towergate::start(&folder, &[]);

    folder.write(
        "app.yaml",
        &manifests(backend.address, 2).replace("rules: [", "rules: {["),
    );
    eventually("the log names the file", || {
        gateway.output().contains("app.yaml").then_some(())
    });
    assert_eq!(revision(&gateway), Some(1));

    folder.write("app.yaml", &manifests(backend.address, 3));
    eventually("the corrected file is in force", || {
        (revision(&gateway)? == 3).then_some(())
    });
}

#[test]
fn endpoints_change_while_serving() {
    let (old, new) = (Backend::start(), Backend::start());
    let folder = Folder::new();
    folder.write("app.yaml", &manifests(old.address, 1));
    let gateway = Towergate::start(&folder, &[]);
    assert_eq!(revision(&gateway), Some(1));

    folder.write("app.yaml", &manifests(new.address, 1));

    eventually("the new endpoint takes over", || {
        curl(&[&format!("http://{}/", gateway.http)]);
        (new.requests() > 0).then_some(())
    });
}

#[test]
fn a_swapped_symlink_of_a_mounted_config_map_is_noticed() {
    use std::os::unix::fs::symlink;
    let backend = Backend::start();
    let folder = Folder::new();
    folder.write("..2026_1/app.yaml", &manifests(backend.address, 1));
    symlink("..2026_1", folder.path().join("..data")).unwrap();
    symlink("..data/app.yaml", folder.path().join("app.yaml")).unwrap();
    let gateway = Towergate::start(&folder, &[]);
    assert_eq!(revision(&gateway), Some(1));

    folder.write("..2026_2/app.yaml", &manifests(backend.address, 2));
    symlink("..2026_2", folder.path().join("..data_tmp")).unwrap();
    std::fs::rename(
        folder.path().join("..data_tmp"),
        folder.path().join("..data"),
    )
    .unwrap();

    eventually("the swapped files are in force", || {
        (revision(&gateway)? == 2).then_some(())
    });
}

#[test]
fn sigterm_lets_requests_in_flight_finish() {
    let backend = Backend::start();
    let folder = Folder::new();
    folder.write("app.yaml", &manifests(backend.address, 1));
    let mut gateway = Towergate::start(&folder, &["--drain-timeout", "5s"]);
    let url = format!("http://{}/slow", gateway.http);
    let slow = std::thread::spawn(move || curl(&[&url]));
    eventually("the slow request is under way", || {
        (backend.requests() > 0).then_some(())
    });

    gateway.signal("TERM");

    let (response, _) = slow.join().unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert_eq!(gateway.wait(), Some(0));
    let output = gateway.output();
    assert!(!output.contains("connections closed before"), "{output}");
    assert!(!output.contains("does not end"), "{output}");
}

#[test]
fn sighup_reads_all_files_and_logs_if_nothing_has_changed() {
    let backend = Backend::start();
    let (folder, outside) = (Folder::new(), Folder::new());
    outside.write("app.yaml", &manifests(backend.address, 1));
    std::os::unix::fs::symlink(
        outside.path().join("app.yaml"),
        folder.path().join("app.yaml"),
    )
    .unwrap();
    let gateway = Towergate::start(&folder, &["--poll-interval", "1h"]);
    let nothing_new = "reloaded: no changes";
    assert!(!gateway.output().contains(nothing_new));

    gateway.signal("HUP");
    eventually("the log reports that nothing has changed", || {
        gateway.output().contains(nothing_new).then_some(())
    });

    outside.write("app.yaml", &manifests(backend.address, 2));
    assert_eq!(revision(&gateway), Some(1));
    gateway.signal("HUP");
    eventually("the change is in force", || {
        (revision(&gateway)? == 2).then_some(())
    });
}
