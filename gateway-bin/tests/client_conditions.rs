//! `tls.clientValidation` of ClientTrafficPolicy with certificates and revocation lists made by openssl, and
//! curl as the client.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::fmt::Write as _;
use std::net::SocketAddr;

use common::backend::Backend;
use common::{Folder, Towergate, curl, eventually, free_port, run, tls_secret};

/// A CA in a folder, which openssl's `ca` operates.
struct OpensslCa(Folder);

const CONFIG: &str = "
[ca]
default_ca = test
[test]
dir = .
database = index.txt
serial = serial
crlnumber = crlnumber
new_certs_dir = .
certificate = ca.crt
private_key = ca.key
default_md = sha256
default_days = 3650
default_crl_days = 3650
policy = any
crl_extensions = list
[any]
commonName = supplied
[list]
authorityKeyIdentifier = keyid
";

impl OpensslCa {
    fn new() -> Self {
        let ca = Self(Folder::new());
        ca.0.write("ca.cnf", CONFIG);
        ca.0.write("index.txt", "");
        ca.0.write("serial", "1000\n");
        ca.0.write("crlnumber", "01\n");
        ca.openssl(&format!(
            "req -x509 -newkey rsa:2048 -nodes -keyout {0}/ca.key -out {0}/ca.crt -days 3650 -subj /CN=ca",
            ca.path()
        ));
        ca
    }

    fn path(&self) -> String {
        self.0.path().display().to_string()
    }

    fn openssl(&self, args: &str) -> String {
        let shell = format!("cd '{}' && openssl {args}", self.path());
        let output = run("sh", &["-c", &shell]);
        assert!(output.status.success(), "openssl {args}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Issues a certificate with one alternative name. `dates` are arguments such as `-enddate …`.
    fn issue(&self, name: &str, alt_name: &str, dates: &str) {
        self.0.write(
            &format!("{name}.ext"),
            &format!("subjectAltName={alt_name}\nextendedKeyUsage=clientAuth\n"),
        );
        self.openssl(&format!(
            "req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        self.openssl(&format!(
            "ca -batch -notext -config ca.cnf -in {name}.csr -out {name}.crt -extfile {name}.ext {dates}"
        ));
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    fn revocation_list(&self) -> String {
        self.openssl("ca -gencrl -config ca.cnf -out list.crl");
        let list = self.read("list.crl");
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: list, namespace: edge}}\nstringData: {{ca.crl: {list:?}}}\n"
        )
    }

    /// SHA-256 of a certificate, as openssl prints it.
    fn fingerprint(&self, name: &str) -> String {
        let line = self.openssl(&format!("x509 -in {name}.crt -noout -fingerprint -sha256"));
        line.split_once('=').unwrap().1.to_owned()
    }

    /// SHA-256 of a public key in base64.
    fn key_hash(&self, name: &str) -> String {
        self.openssl(&format!(
            "x509 -in {name}.crt -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64"
        ))
    }
}

/// A listener with a policy for each of `validations`, all with the CA.
fn manifests(backend: SocketAddr, validations: &[(&str, String)]) -> String {
    let mut listeners = String::new();
    let mut policies = String::new();
    for (index, (name, validation)) in validations.iter().enumerate() {
        let port = 9000 + index;
        writeln!(
            listeners,
            "    - {{name: {name}, port: {port}, protocol: HTTPS, tls: {{certificateRefs: [{{name: server}}]}}}}"
        )
        .unwrap();
        write!(
            policies,
            "---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {{name: {name}, namespace: edge}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: edge, sectionName: {name}}}]
  tls: {{clientValidation: {{caCertificateRefs: [{{kind: ConfigMap, name: ca}}], {validation}}}}}
"
        )
        .unwrap();
    }
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge, namespace: edge}}
spec:
  gatewayClassName: eg
  listeners:
{listeners}---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: all, namespace: edge}}
spec:
  parentRefs: [{{name: edge}}]
  rules: [{{backendRefs: [{{name: app, port: 80}}]}}]
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
ports: [{{name: p, port: {}}}]
endpoints: [{{addresses: [{}]}}]
{policies}",
        backend.port(),
        backend.ip()
    )
}

/// Whether a client of `ca` with the certificate `name` receives a response of the backend.
fn accepted(ca: &OpensslCa, port: u16, name: Option<&str>) -> bool {
    let mut args = vec!["-k".to_owned()];
    if let Some(name) = name {
        let file = |ending: &str| format!("{}/{name}.{ending}", ca.path());
        args.extend([
            "--cert".to_owned(),
            file("crt"),
            "--key".to_owned(),
            file("key"),
        ]);
    }
    args.push(format!("https://127.0.0.1:{port}/"));
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let (answer, status) = curl(&args);
    status == 0 && answer.contains(" 200")
}

#[test]
fn each_condition_accepts_the_certificates_of_openssl_that_fulfil_it() {
    let (ca, stranger) = (OpensslCa::new(), OpensslCa::new());
    ca.issue("good", "URI:spiffe://corp/good", "");
    ca.issue("other", "DNS:other.test", "");
    ca.issue(
        "expired",
        "URI:spiffe://corp/expired",
        "-startdate 20200101000000Z -enddate 20210101000000Z",
    );
    let validations = [
        (
            "hash",
            format!("certificateHashes: [{:?}]", ca.fingerprint("good")),
        ),
        ("key", format!("spkiHashes: [{:?}]", ca.key_hash("good"))),
        (
            "name",
            "subjectAltNames: {uris: [{type: Prefix, value: \"spiffe://corp/\"}]}".to_owned(),
        ),
        ("list", "crl: {refs: [{name: list}]}".to_owned()),
        ("lenient", "allowExpiredCertificate: true".to_owned()),
        ("any", "mode: RequireAny".to_owned()),
        ("request", "mode: Request".to_owned()),
    ];
    let backend = Backend::start();
    let folder = Folder::new();
    folder.write("edge.yaml", &manifests(backend.address, &validations));
    folder.write("server.yaml", &tls_secret("edge", "server", "a.test"));
    folder.write("list.yaml", &ca.revocation_list());
    folder.write(
        "ca.yaml",
        &format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: ca, namespace: edge}}\ndata: {{ca.crt: {:?}}}\n",
            ca.read("ca.crt")
        ),
    );
    let ports = validations.each_ref().map(|_| free_port());
    let mapped = ports.iter().enumerate();
    let mapped: Vec<_> = mapped
        .map(|(at, port)| format!("{}={port}", 9000 + at))
        .collect();
    let args: Vec<_> = mapped
        .iter()
        .flat_map(|one| ["--port", one.as_str()])
        .collect();
    let _gateway = Towergate::start(&folder, &args);
    stranger.issue("stranger", "URI:spiffe://corp/good", "");

    // Whether each of these is accepted: `good`, `other`, `expired`, a certificate of another CA, no
    // certificate.
    for (at, expected) in [
        [true, false, false, false, false],
        [true, false, false, false, false],
        [true, false, false, false, false],
        [true, true, false, false, false],
        [true, true, true, false, false],
        [true, true, true, true, false],
        [true, true, true, true, true],
    ]
    .into_iter()
    .enumerate()
    {
        let found = [
            accepted(&ca, ports[at], Some("good")),
            accepted(&ca, ports[at], Some("other")),
            accepted(&ca, ports[at], Some("expired")),
            accepted(&stranger, ports[at], Some("stranger")),
            accepted(&ca, ports[at], None),
        ];
        assert_eq!(found, expected, "{}", validations[at].0);
    }

    ca.openssl("ca -config ca.cnf -revoke other.crt");
    folder.write("list.yaml", &ca.revocation_list());
    eventually("the certificate is revoked", || {
        (!accepted(&ca, ports[3], Some("other"))).then_some(())
    });
    assert!(accepted(&ca, ports[3], Some("good")));
}
