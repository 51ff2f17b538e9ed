//! `tls.signatureAlgorithms` of a ClientTrafficPolicy, with openssl.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::process::{Command, Stdio};

use common::{Folder, Towergate, run};

/// Manifests of a Gateway with an RSA certificate that requests client certificates, and of its policy.
fn manifests(certificate: &str, key: &str) -> String {
    let indented = |pem: &str| pem.replace('\n', "\n    ");
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge, namespace: ns}}
spec:
  gatewayClassName: any
  listeners: [{{name: https, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{{name: rsa}}]}}}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {{name: schemes, namespace: ns}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: edge}}]
  tls:
    signatureAlgorithms: [rsa_pss_rsae_sha384, RSA+SHA256]
    clientValidation: {{mode: VerifyIfGiven, caCertificateRefs: [{{group: \"\", kind: ConfigMap, name: ca}}]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: ca, namespace: ns}}
data:
  ca.crt: |
    {0}
---
apiVersion: v1
kind: Secret
metadata: {{name: rsa, namespace: ns}}
type: kubernetes.io/tls
stringData:
  tls.crt: |
    {0}
  tls.key: |
    {1}
",
        indented(certificate),
        indented(key)
    )
}

/// The output of `openssl s_client`, and whether its handshake succeeds.
fn handshake(gateway: &Towergate, args: &[&str]) -> (String, bool) {
    let output = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &gateway.https.to_string(),
            "-servername",
            "rsa.test",
        ])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed: see .ci/run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text, output.status.success())
}

#[test]
fn handshakes_are_signed_with_the_listed_algorithms_only() {
    let folder = Folder::new();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let made = run(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=rsa.test",
            "-addext",
            "subjectAltName=DNS:rsa.test",
            "-keyout",
            &at("key.pem"),
            "-out",
            &at("cert.pem"),
        ],
    );
    assert!(made.status.success());
    let read = |name: &str| std::fs::read_to_string(at(name)).unwrap();
    let manifests = manifests(&read("cert.pem"), &read("key.pem"));
    let served = Folder::new();
    served.write("app.yaml", &manifests);
    let gateway = Towergate::start(&served, &[]);

    for (args, expected) in [
        (&["-tls1_3"][..], Some(("RSA-PSS", "SHA384"))),
        (&["-tls1_2"], Some(("RSA-PSS", "SHA384"))),
        (
            &["-tls1_2", "-sigalgs", "RSA+SHA256:RSA+SHA512"],
            Some(("RSA", "SHA256")),
        ),
        (&["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"], None),
        (&["-tls1_2", "-sigalgs", "RSA+SHA512"], None),
    ] {
        let (text, succeeded) = handshake(&gateway, args);

        assert_eq!(succeeded, expected.is_some(), "{args:?}: {text}");
        if let Some((kind, digest)) = expected {
            assert!(
                text.contains(&format!("Peer signature type: {kind}\n")),
                "{args:?}: {text}"
            );
            assert!(
                text.contains(&format!("Peer signing digest: {digest}\n")),
                "{args:?}: {text}"
            );
        }
    }
    let (text, _) = handshake(&gateway, &["-tls1_3"]);
    let asked = text
        .lines()
        .find(|line| line.starts_with("Requested Signature Algorithms:"));
    let asked = asked.unwrap().split(": ").nth(1).unwrap();
    let mut asked: Vec<_> = asked.split(':').collect();
    asked.sort_unstable();
    assert_eq!(asked, ["RSA+SHA256", "RSA-PSS+SHA384"]);
}
