//! `tls.fingerprints` of ClientTrafficPolicy: the ClientHello of curl, in several segments, has the
//! fingerprints that this test computes independently of the gateway.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::backend::Backend;
use common::{Folder, Towergate, curl, eventually, run, tls_secret};

/// A TCP proxy that records what the client sends first, and sends it to the gateway in pieces.
fn recording_proxy(gateway: u16) -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let recorded = Arc::<Mutex<Vec<u8>>>::default();
    let record = recorded.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(("127.0.0.1", gateway)).unwrap();
            server.set_nodelay(true).unwrap();
            let hello = read_record(&client);
            record.lock().unwrap().clone_from(&hello);
            for piece in hello.chunks(hello.len() / 3 + 1) {
                (&server).write_all(piece).unwrap();
                std::thread::sleep(Duration::from_millis(20));
            }
            for (mut from, mut to) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server, client),
            ] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    (port, recorded)
}

/// The first TLS record of a client.
fn read_record(mut client: &TcpStream) -> Vec<u8> {
    let mut record = vec![0; 5];
    client.read_exact(&mut record).unwrap();
    let length = usize::from(record[3]) << 8 | usize::from(record[4]);
    record.resize(5 + length, 0);
    client.read_exact(&mut record[5..]).unwrap();
    record
}

/// The output of a program such as `md5sum` for a text.
fn digest(program: &str, text: &str) -> String {
    let shell = format!("printf %s '{text}' | {program}");
    let output = run("sh", &["-c", &shell]);
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().to_owned()
}

fn words(bytes: &[u8]) -> Vec<usize> {
    let words = bytes
        .chunks(2)
        .map(|w| usize::from(w[0]) << 8 | usize::from(w[1]));
    words.filter(|word| word & 0x0f0f != 0x0a0a).collect()
}

fn list(words: &[usize], separator: &str, format: fn(usize) -> String) -> String {
    let words: Vec<String> = words.iter().copied().map(format).collect();
    words.join(separator)
}

/// JA3 and JA4 of a ClientHello in one record.
fn fingerprints(record: &[u8]) -> (String, String) {
    let at = |index: usize| usize::from(record[index]) << 8 | usize::from(record[index + 1]);
    let suites_at = 44 + usize::from(record[43]);
    let suites = words(&record[suites_at + 2..suites_at + 2 + at(suites_at)]);
    let mut next = suites_at + 2 + at(suites_at);
    next += 1 + usize::from(record[next]) + 2;
    let mut extensions = Vec::new();
    while next < record.len() {
        extensions.push((at(next), &record[next + 4..next + 4 + at(next + 2)]));
        next += 4 + at(next + 2);
    }
    let data = |kind| {
        extensions
            .iter()
            .find(|(k, _)| *k == kind)
            .map(|(_, data)| *data)
    };
    let kinds: Vec<usize> = extensions.iter().map(|(kind, _)| *kind).collect();
    let decimal = |number: usize| number.to_string();
    let formats: Vec<usize> = data(11).unwrap()[1..]
        .iter()
        .map(|f| usize::from(*f))
        .collect();
    let ja3 = [
        at(9).to_string(),
        list(&suites, "-", decimal),
        list(&kinds, "-", decimal),
        list(&words(&data(10).unwrap()[2..]), "-", decimal),
        list(&formats, "-", decimal),
    ];
    let hexadecimal = |number: usize| format!("{number:04x}");
    let mut sorted = suites.clone();
    sorted.sort_unstable();
    let mut others: Vec<usize> = kinds
        .iter()
        .copied()
        .filter(|k| *k != 0 && *k != 16)
        .collect();
    others.sort_unstable();
    let settings = format!(
        "{}_{}",
        list(&others, ",", hexadecimal),
        list(&words(&data(13).unwrap()[2..]), ",", hexadecimal)
    );
    let protocol =
        String::from_utf8_lossy(&data(16).unwrap()[3..3 + usize::from(data(16).unwrap()[2])])
            .into_owned();
    let ja4 = format!(
        "t13d{:02}{:02}{}{}_{}_{}",
        suites.len(),
        kinds.len(),
        &protocol[..1],
        &protocol[protocol.len() - 1..],
        &digest("sha256sum", &list(&sorted, ",", hexadecimal))[..12],
        &digest("sha256sum", &settings)[..12],
    );
    (digest("md5sum", &ja3.join(",")), ja4)
}

fn manifests(backend: std::net::SocketAddr) -> String {
    let (address, port) = (backend.ip(), backend.port());
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge, namespace: edge}}
spec:
  gatewayClassName: eg
  listeners:
    - {{name: https, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{{name: server}}]}}}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {{name: tls, namespace: edge}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: edge}}]
  tls: {{fingerprints: [JA3, JA4]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: all, namespace: edge}}
spec:
  parentRefs: [{{name: edge}}]
  rules:
    - filters:
        - type: RequestHeaderModifier
          requestHeaderModifier:
            set: [{{name: x-ja, value: '%TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT%'}}]
      backendRefs: [{{name: app, port: 80}}]
---
apiVersion: v1
kind: Service
metadata: {{name: app, namespace: edge}}
spec: {{ports: [{{name: p, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: app-1, namespace: edge, labels: {{kubernetes.io/service-name: app}}}}
addressType: IPv4
ports: [{{name: p, port: {port}}}]
endpoints: [{{addresses: ['{address}']}}]
"
    )
}

#[test]
fn the_backend_and_the_access_log_have_the_fingerprints_of_the_client() {
    let backend = Backend::start();
    let folder = Folder::new();
    folder.write("a.yaml", &manifests(backend.address));
    folder.write("server.yaml", &tls_secret("edge", "server", "app.test"));
    let format = "seen %TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT%";
    let towergate = Towergate::start(&folder, &["--access-log-format", format]);
    let (port, recorded) = recording_proxy(towergate.https.port());
    let to = format!("app.test:443:127.0.0.1:{port}");

    let (echoed, _) = curl(&["-k", "--connect-to", &to, "https://app.test/"]);

    let (ja3, ja4) = fingerprints(&recorded.lock().unwrap());
    assert!(
        echoed.contains(&format!("x-ja: {ja3} {ja4}\r\n")),
        "{ja3} {ja4}: {echoed}"
    );
    let line = format!("seen {ja3} {ja4}");
    eventually(&line, || towergate.output().contains(&line).then_some(()));
}
