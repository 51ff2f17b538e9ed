//! `towergate migrate` on typical installations.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use common::{Folder, run};

const INGRESSES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway-k8s/tests/ingress");

fn input(name: &str) -> String {
    format!("{INGRESSES}/{name}/in.yaml")
}

fn migrate(args: &[&str]) -> (String, Option<i32>) {
    let args: Vec<&str> = std::iter::once("migrate")
        .chain(args.iter().copied())
        .collect();
    let output = run(env!("CARGO_BIN_EXE_towergate"), &args);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text, output.status.code())
}

fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn one_file_is_written_for_each_namespace_and_again_with_the_same_bytes() {
    let folder = Folder::new();
    let out = folder.path().join("out");
    let args = [&*input("gitlab"), "--out", out.to_str().unwrap()];

    let (_, code) = migrate(&args);
    let first = files(&out);
    migrate(&args);

    assert_eq!(code, Some(0));
    let names: Vec<&String> = first.keys().collect();
    assert_eq!(
        names,
        [
            "cluster.yaml",
            "gateway.yaml",
            "gateway_default-certificate.yaml",
            "gitlab.yaml"
        ]
    );
    assert_eq!(files(&out), first);
}

#[test]
fn the_exit_status_depends_on_the_worst_verdict() {
    let (report, allowed) = migrate(&[&input("digest-auth")]);
    let (_, failed) = migrate(&[&input("digest-auth"), "--fail-on", "impossible"]);
    let (_, fine) = migrate(&[&input("canary-weight"), "--fail-on", "impossible"]);

    assert!(report.contains("IMPOSSIBLE (1)"), "{report}");
    assert_eq!((allowed, failed, fine), (Some(0), Some(1), Some(0)));
}

#[test]
fn files_of_an_earlier_run_are_removed_and_reported() {
    let folder = Folder::new();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    migrate(&[&input("gitlab"), "--out", out]);
    folder.write("out/own.yaml", "# mine\n");

    let second = run(
        env!("CARGO_BIN_EXE_towergate"),
        &["migrate", &input("canary-weight"), "--out", out],
    );

    let files = files(Path::new(out));
    let names: Vec<&String> = files.keys().collect();
    let expected = [
        "apps.yaml",
        "gateway.yaml",
        "gateway_default-certificate.yaml",
        "own.yaml",
    ];
    assert_eq!(names, expected);
    let stderr = String::from_utf8_lossy(&second.stderr);
    assert!(stderr.contains("gitlab.yaml: removed"), "{stderr}");
}

#[test]
fn a_file_of_the_user_is_not_overwritten() {
    let folder = Folder::new();
    folder.write("out/gateway.yaml", "# mine\n");
    let out = folder.path().join("out");

    let (_, code) = migrate(&[&input("gitlab"), "--out", out.to_str().unwrap()]);

    assert_eq!(code, Some(2));
    assert_eq!(files(&out)["gateway.yaml"], "# mine\n");
}

#[test]
fn an_ingress_in_two_files_is_an_error_with_both_places() {
    let folder = Folder::new();
    folder.write("a.yaml", TWO_HOSTS);
    folder.write("b.yaml", TWO_HOSTS);

    let output = run(
        env!("CARGO_BIN_EXE_towergate"),
        &["migrate", folder.path().to_str().unwrap()],
    );

    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    for expected in [
        "b.yaml:1: Ingress shop/shop is already defined in",
        "a.yaml:1; the first one is used",
    ] {
        assert!(stderr.contains(expected), "{stderr}");
    }
}

#[test]
fn a_difference_that_a_verdict_describes_is_no_failure_and_its_example() {
    let (text, code) = migrate(&[&input("grafana-subpath"), "--prove", "--format", "json"]);

    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let differences = report["proofs"][0]["differences"].as_array().unwrap();
    assert_eq!(code, Some(0), "{differences:#?}");
    assert!(!differences.is_empty());
    for difference in differences {
        let explained = difference["explainedBy"].as_array().unwrap();
        assert!(explained.contains(&"spec.rules".into()), "{difference}");
    }
    let mut verdicts = report["verdicts"].as_array().unwrap().iter();
    let rules = verdicts.find(|one| one["setting"] == "spec.rules").unwrap();
    let url = rules["example"]["url"].as_str().unwrap();
    assert!(url.contains("tools.example.com/"), "{rules}");
}

/// A Service with endpoints, as in an export of a whole cluster. No Ingress of [`TWO_HOSTS`] uses it.
const CLUSTER: &str = "\
apiVersion: v1
kind: Service
metadata: {name: other, namespace: other}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: other, namespace: other, labels: {kubernetes.io/service-name: other}}
addressType: IPv4
ports: [{port: 80}]
endpoints: [{addresses: [10.0.0.1]}]
";

#[test]
fn a_service_that_does_not_exist_is_proved_and_one_that_may_is_assumed() {
    let folder = Folder::new();
    folder.write("in/ingresses.yaml", TWO_HOSTS);
    let input = folder.path().join("in");
    let input = input.to_str().unwrap();

    let (assumed, _) = migrate(&[input, "--prove"]);
    folder.write("in/cluster.yaml", CLUSTER);
    let (missing, code) = migrate(&[input, "--prove"]);

    let expected = "assumed to exist, because the files lack them: blog/web, shop/web";
    assert!(assumed.contains(expected), "{assumed}");
    assert!(assumed.contains(" 0 different"), "{assumed}");
    assert!(!missing.contains("assumed to exist"), "{missing}");
    let expected = "    ingress-nginx: 503\n    towergate: 500\n    described by: error responses";
    assert!(missing.contains(expected), "{missing}");
    assert_eq!(code, Some(0), "{missing}");
}

#[test]
fn no_installation_has_a_difference_that_no_verdict_describes() {
    for entry in std::fs::read_dir(INGRESSES).unwrap() {
        let folder = entry.unwrap().path();
        let file = folder.join("in.yaml");

        let (text, code) = migrate(&[file.to_str().unwrap(), "--prove"]);

        // ingress-nginx ignores all Ingresses of these installations.
        let is_empty = ["mattermost", "nextcloud", "other-class"]
            .iter()
            .any(|name| folder.ends_with(name));
        assert_eq!(
            code,
            Some(i32::from(is_empty)),
            "{}: {text}",
            file.display()
        );
        let sentence = "nothing is proved: no request that an Ingress serves was compared";
        assert_eq!(text.contains(sentence), is_empty, "{text}");
    }
}

#[test]
fn what_is_not_compared_has_a_reason() {
    let (text, _) = migrate(&[&input("client-certificates"), "--prove"]);

    let expected = ", because the host verifies client certificates";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn paths_with_external_authentication_are_proved_with_each_decision() {
    let (same, _) = migrate(&[&input("authentik"), "--prove"]);
    let unresolved = input("auth-on-own-host-unresolved");
    let (differs, _) = migrate(&[&unresolved, "--prove", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&differs).unwrap();
    let differences = report["proofs"][0]["differences"].as_array().unwrap();

    assert!(same.contains(" 0 different; 0 not compared"), "{same}");
    for (status, expected) in [
        (200, "apps/app receives /"),
        (401, "401"),
        (403, "403"),
        (
            503,
            "500; authentication by loop.example.com/oauth2/auth at apps/app",
        ),
    ] {
        let request =
            format!("GET http://loop.example.com/ (the authentication server returns {status})");
        let mut found = differences.iter().filter(|one| one["request"] == request);
        assert_eq!(found.next().unwrap()["ingressNginx"], expected);
    }
}

#[test]
fn a_proof_without_a_comparison_fails_and_lists_what_it_does_not_show() {
    let folder = Folder::new();
    let fast_cgi = "metadata: {name: shop, namespace: shop, annotations: {nginx.ingress.kubernetes.io/backend-protocol: FCGI, nginx.ingress.kubernetes.io/limit-rps: '5'}}";
    let (shop, _) = TWO_HOSTS.split_once("---").unwrap();
    folder.write(
        "in.yaml",
        &shop.replace("metadata: {name: shop, namespace: shop}", fast_cgi),
    );

    let (text, code) = migrate(&[folder.path().to_str().unwrap(), "--prove"]);

    for expected in [
        "nothing is proved: no request that an Ingress serves was compared",
        "no request of Ingress shop/shop was compared, because the backend uses FastCGI",
        "settings whose effect no request shows: limit-rps (Ingress shop/shop)",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(code, Some(1));
}

#[test]
fn what_a_translation_needs_has_no_finding_about_its_own_policies() {
    let folder = Folder::new();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    migrate(&[&input("alertmanager-whitelist"), "--out", out]);

    let output = run(
        env!("CARGO_BIN_EXE_towergate"),
        &["check", out, &input("alertmanager-whitelist")],
    );

    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("authorization-by-peer-address"), "{text}");
}

#[test]
fn translations_without_differences_are_proved() {
    for name in [
        "gitlab",
        "harbor",
        "canary-weight",
        "canary-header-and-cookie",
        "api-versions-regex",
        "behind-cloudflare",
        "trailing-slash",
    ] {
        let (text, _) = migrate(&[&input(name), "--prove"]);

        assert!(text.contains(" 0 different"), "{name}: {text}");
    }
}

#[test]
fn hosts_with_listeners_of_their_own_are_proved() {
    let folder = Folder::new();
    let hosts: String = (0..70)
        .map(|host| {
            format!(
                "---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: web-{host}, namespace: shop}}
spec:
  ingressClassName: nginx
  tls: [{{hosts: [h{host}.test], secretName: tls-{host}}}]
  rules:
  - host: h{host}.test
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web-{host}, port: {{number: 80}}}}}}}}]}}
"
            )
        })
        .collect();
    folder.write("in.yaml", &hosts);

    let (text, code) = migrate(&[folder.path().to_str().unwrap(), "--prove"]);

    assert!(text.contains(" 0 different"), "{text}");
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_host_with_client_certificates_does_not_affect_the_proof_of_others() {
    let folder = Folder::new();
    let input = input("client-certificates");
    let other = TWO_HOSTS.replace("rules:", "tls: [{hosts: [shop.test, blog.test]}]\n  rules:");
    folder.write("in.yaml", &other);

    let (text, code) = migrate(&[&input, folder.path().to_str().unwrap(), "--prove"]);

    assert!(text.contains(" 0 different"), "{text}");
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn ingresses_of_another_class_only_are_a_warning_that_names_it() {
    let folder = Folder::new();
    folder.write(
        "in.yaml",
        &TWO_HOSTS.replace("ingressClassName: nginx", "ingressClassName: public"),
    );

    let output = run(
        env!("CARGO_BIN_EXE_towergate"),
        &["migrate", folder.path().to_str().unwrap()],
    );

    let stderr = String::from_utf8_lossy(&output.stderr);
    let expected = "warning: no Ingress has class `nginx`, and 2 have another class or none; classes in use: public";
    assert!(stderr.contains(expected), "{stderr}");
}

#[test]
fn a_translation_in_the_same_folder_is_not_read() {
    let folder = Folder::new();
    folder.write("in/ingresses.yaml", TWO_HOSTS);
    let out = folder.path().join("out");
    migrate(&[
        folder.path().join("in").to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ]);

    let (text, code) = migrate(&[folder.path().to_str().unwrap(), "--prove"]);

    assert!(text.contains(" 0 different"), "{text}");
    assert_eq!(code, Some(0), "{text}");
}

/// A server that answers every request with `response`, and its address.
fn server(response: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
                head.push(byte[0]);
            }
            let method = head.split(|byte| *byte == b' ').next().unwrap();
            assert!(matches!(method, b"GET" | b"HEAD" | b"OPTIONS"));
            stream.write_all(response.as_bytes()).unwrap();
        }
    });
    format!("http://{address}")
}

#[test]
fn running_gateways_are_compared() {
    let old = server("HTTP/1.1 204 No Content\r\nx-a: 1\r\ndate: Mon\r\n\r\n");
    let same = server("HTTP/1.1 204 No Content\r\nX-A: 1\r\nserver: towergate\r\n\r\n");
    let other = server("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    let prove = |new: &str| {
        let against = format!("{old},{new}");
        let budget = ["--prove-rate", "1000", "--prove-requests", "3"];
        let mut args = vec!["--prove-against", against.as_str()];
        args.extend(budget);
        let input = input("canary-weight");
        args.push(&input);
        migrate(&args).0
    };

    let equal = prove(&same);
    let different = prove(&other);

    assert!(
        equal.contains("3 requests compared: 3 equal, 0 different"),
        "{equal}"
    );
    assert!(
        different.contains("3 requests compared: 0 equal, 3 different"),
        "{different}"
    );
    assert!(different.contains("204; x-a: 1"), "{different}");
}

#[test]
fn a_gateway_that_does_not_listen_fails_the_proof() {
    // The listener is dropped before the program connects, so the connection is refused.
    let closed = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let against = format!("{},{}", closed(), closed());
    let input = input("canary-weight");

    let (text, status) = migrate(&[
        "--prove-against",
        &against,
        "--prove-rate",
        "1000",
        "--prove-requests",
        "3",
        &input,
    ]);

    assert_eq!(status, Some(1));
    assert!(
        text.contains("0 requests compared: 0 equal, 0 different"),
        "{text}"
    );
    let expected = "not compared: 3, because a gateway gave no response";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn an_unknown_annotation_has_a_suggestion_and_no_ingress_is_an_error() {
    let folder = Folder::new();
    folder.write(
        "a.yaml",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n",
    );

    let (report, _) = migrate(&[&input("typo")]);
    let (_, none) = migrate(&[folder.path().to_str().unwrap()]);

    assert!(report.contains("`proxy-body-size`"), "{report}");
    assert_eq!(none, Some(2));
}

/// A line of ingress-nginx's access log.
fn logged(request: &str, status: u16, upstream: &str) -> String {
    format!(
        "10.0.0.9 - - [30/Nov/2026:11:50:00 +0000] \"{request} HTTP/1.1\" {status} 5 \"-\" \"curl/8\" 80 0.001 [{upstream}] [] 10.0.0.1:80 5 0.001 {status} f1\n"
    )
}

fn replay(folder: &Folder, lines: &[String], args: &[&str]) -> (String, Option<i32>) {
    folder.write("access.log", &lines.concat());
    let log = folder.path().join("access.log");
    let mut all = vec!["replay", log.to_str().unwrap()];
    all.extend(args);
    let output = run(env!("CARGO_BIN_EXE_towergate"), &all);
    let text = [output.stdout, output.stderr].concat();
    (
        String::from_utf8_lossy(&text).into_owned(),
        output.status.code(),
    )
}

const TWO_HOSTS: &str = "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, namespace: shop}
spec:
  ingressClassName: nginx
  rules:
  - host: shop.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: blog
  namespace: blog
  annotations: {nginx.ingress.kubernetes.io/limit-rpm: '5'}
spec:
  ingressClassName: nginx
  rules:
  - host: blog.test
    http: {paths: [{path: /posts, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
";

#[test]
fn a_log_is_replayed_through_the_translation() {
    let folder = Folder::new();
    folder.write("in/ingresses.yaml", TWO_HOSTS);
    let lines = [
        logged("GET /a?b=c", 200, "shop-web-80"),
        logged("GET /posts/1", 200, "blog-web-80"),
        logged("GET /posts/1", 200, "blog-web-80"),
        logged("POST /posts/1", 200, "blog-web-80"),
        logged("GET /", 404, "upstream-default-backend"),
        "I1130 11:50:00.000000 7 controller.go:1] Configuration changes detected\n".to_owned(),
    ];

    let input = folder.path().join("in");
    let (text, code) = replay(&folder, &lines, &[input.to_str().unwrap()]);

    for expected in [
        "Log: 3 lines, 2 distinct requests",
        "2 requests compared: 2 equal, 0 different",
        "1 line left out: a method that may change something (first: line 4: POST)",
        "(first: line 5: [upstream-default-backend] /)",
        "1 line left out: not in a known format of ingress-nginx (first: line 6)",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_log_is_replayed_against_running_gateways() {
    let folder = Folder::new();
    let old = server("HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n");
    let new = server("HTTP/1.1 204 No Content\r\nx-a: 2\r\n\r\n");
    let lines = [
        format!("app.test {}", logged("GET /a", 204, "-")),
        format!("app.test {}", logged("HEAD /a", 200, "-")),
        format!("app.test {}", logged("DELETE /a", 204, "-")),
        logged("GET /a", 204, "-"),
    ];
    let against = |addresses: &str, more: &[&str]| {
        let mut args = vec!["--rate", "1000", "--against", addresses];
        args.extend(more);
        replay(&folder, &lines, &args)
    };

    let (both, _) = against(&format!("{old},{new}"), &[]);
    let (same, same_code) = against(&format!("{old},{old}"), &["--host", "b.test"]);
    let (log, log_code) = against(&new, &[]);

    assert!(
        both.contains("2 requests compared: 0 equal, 2 different"),
        "{both}"
    );
    assert!(
        both.contains("GET http://app.test/a\n    ingress-nginx: 204; x-a: 1"),
        "{both}"
    );
    assert!(
        same.contains("3 requests compared: 3 equal, 0 different"),
        "{same}"
    );
    assert!(
        log.contains("2 requests compared: 1 equal, 1 different"),
        "{log}"
    );
    assert!(
        log.contains(
            "HEAD http://app.test/a\n    ingress-nginx: 200 in the log, line 2\n    towergate: 204"
        ),
        "{log}"
    );
    assert_eq!((same_code, log_code), (Some(0), Some(1)));
}

#[test]
fn a_log_in_json_is_replayed() {
    let folder = Folder::new();
    folder.write("in/ingresses.yaml", TWO_HOSTS);
    let lines = [
        r#"{"remote_addr": "10.0.0.9", "status": 200, "vhost": "shop.test", "path": "/a b", "request_query": "c=d", "method": "GET"}"#,
        r#"{"level": "info"}"#,
        r#"{"remote_addr": "10.0.0.9", "status": 200, "vhost": "192.0.2.1", "path": "/healthz", "method": "GET"}"#,
    ];
    let lines = lines.map(|line| format!("{line}\n"));

    let input = folder.path().join("in");
    let (text, code) = replay(&folder, &lines, &[input.to_str().unwrap()]);

    let expected =
        "2 requests compared: 1 equal, 1 different (1 described by a verdict, 0 by none)";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("described by: health checks"), "{text}");
    let left = "1 line left out: not in a known format of ingress-nginx (first: line 2)";
    assert!(text.contains(left), "{text}");
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_log_without_hosts_needs_the_ingresses() {
    let folder = Folder::new();
    let lines = [logged("GET /a", 204, "shop-web-80")];

    let (text, code) = replay(&folder, &lines, &["--against", "http://127.0.0.1:9"]);

    assert!(text.contains("pass the folder of the Ingresses"), "{text}");
    assert_eq!(code, Some(2));
}

/// Accepts connections and counts them. Returns its port.
fn sink() -> (u16, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
    let count = connections.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            drop(stream);
        }
    });
    (port, connections)
}

#[test]
fn no_request_of_a_proof_reaches_a_backend() {
    const INSTALLATION: &str = r#"
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  namespace: apps
  annotations: {nginx.ingress.kubernetes.io/mirror-target: "http://127.0.0.1:PORT/copy"}
spec:
  ingressClassName: nginx
  rules:
    - host: a.test
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
    - host: b.test
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: outside, port: {number: PORT}}}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: apps}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: apps}
spec: {type: ExternalName, externalName: localhost, ports: [{port: PORT}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web, namespace: apps, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: PORT}]
endpoints: [{addresses: [127.0.0.1]}]
"#;
    let (port, connections) = sink();
    let folder = Folder::new();
    folder.write("in.yaml", &INSTALLATION.replace("PORT", &port.to_string()));

    let (text, _) = migrate(&[
        &folder.path().join("in.yaml").display().to_string(),
        "--prove",
    ]);

    assert!(text.contains(" 0 different"), "{text}");
    assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 0);
}
