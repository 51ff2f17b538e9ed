//! Client certificates on both sides: curl and openssl as clients of the gateway, nginx as a backend that
//! requests a client certificate.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use common::backend::Backend;
use common::{Folder, Process, Towergate, curl, eventually, free_port};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, SanType, SerialNumber,
};

/// A CA. All CAs have the same subject and serial number, as after a renewal.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        params.serial_number = Some(SerialNumber::from(2024));
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        Pair {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// Issues a client certificate without subject alternative names.
    fn client(&self, name: &str) -> Pair {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    fn server(&self, host: &str, uri: &str) -> Pair {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let uri = SanType::URI(uri.try_into().unwrap());
        params.subject_alt_names.push(uri);
        self.sign(&params)
    }

    fn config_map(&self, name: &str) -> String {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: edge}}\ndata: {{ca.crt: {:?}}}\n",
            self.pem
        )
    }
}

/// A certificate and its key in PEM format.
struct Pair {
    certificate: String,
    key: String,
}

impl Pair {
    fn secret(&self, name: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: edge}}\ntype: kubernetes.io/tls\nstringData: {{tls.crt: {:?}, tls.key: {:?}}}\n",
            self.certificate, self.key
        )
    }

    /// Writes certificate and key into one file. Returns its path.
    fn save(&self, folder: &Folder, name: &str) -> String {
        folder.write(name, &format!("{}{}", self.certificate, self.key));
        folder.path().join(name).display().to_string()
    }
}

fn service(name: &str, address: SocketAddr) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: edge}}
spec: {{ports: [{{name: p, port: 443}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: edge, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: p, port: {}}}]
endpoints: [{{addresses: [{}]}}]
",
        address.port(),
        address.ip()
    )
}

const FRONT: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: edge}
spec:
  gatewayClassName: eg
  tls:
    frontend:
      default: {validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: default}]}}
      perPort:
        - port: 8443
          tls: {validation: {mode: AllowInsecureFallback, caCertificateRefs: [{group: "", kind: ConfigMap, name: own}]}}
        - {port: 7443, tls: {validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: nowhere}]}}}
  listeners:
    - {name: http, port: 80, protocol: HTTP}
    - {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: server}]}}
    - {name: fallback, port: 8443, protocol: HTTPS, tls: {certificateRefs: [{name: server}]}}
    - {name: broken, port: 7443, protocol: HTTPS, tls: {certificateRefs: [{name: server}]}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: edge, namespace: edge}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  tls: {session: {resumption: {stateless: {}}}}
  headers: {xForwardedClientCert: {mode: AppendForward, certDetailsToAdd: [Subject]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all, namespace: edge}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: app, port: 443}]}]
"#;

/// A gateway that verifies client certificates.
struct Front {
    gateway: Towergate,
    manifests: Folder,
    files: Folder,
    fallback: u16,
    broken: u16,
}

impl Front {
    fn start(default: &Authority, own: &Authority) -> Self {
        let backend = Backend::start();
        let manifests = Folder::new();
        manifests.write("front.yaml", FRONT);
        manifests.write("app.yaml", &service("app", backend.address));
        let server = Authority::new().server("a.test", "spiffe://a.test/edge");
        manifests.write("server.yaml", &server.secret("server"));
        manifests.write("default.yaml", &default.config_map("default"));
        manifests.write("own.yaml", &own.config_map("own"));
        let [fallback, broken] = [free_port(), free_port()];
        let ports = [format!("8443={fallback}"), format!("7443={broken}")];
        let gateway = Towergate::start(&manifests, &["--port", &ports[0], "--port", &ports[1]]);
        Self {
            gateway,
            manifests,
            files: Folder::new(),
            fallback,
            broken,
        }
    }

    /// Sends a request with a forged client certificate header. Returns the response, or the error of
    /// curl, and its exit status.
    fn ask(&self, port: u16, scheme: &str, client: Option<&Pair>) -> (String, i32) {
        let url = format!("{scheme}://a.test:{port}/");
        let to = format!("a.test:{port}:127.0.0.1");
        let file = client.map(|pair| pair.save(&self.files, "client.pem"));
        let mut args = vec![
            "-k",
            "--resolve",
            &to,
            "-H",
            "X-Forwarded-Client-Cert: forged",
        ];
        if let Some(file) = &file {
            args.extend(["--cert", file]);
        }
        args.push(&url);
        curl(&args)
    }

    /// Returns the client certificate header that the backend receives.
    fn told(&self, port: u16, client: Option<&Pair>) -> Option<String> {
        let (answer, status) = self.ask(port, "https", client);
        assert_eq!(status, 0, "{answer}");
        assert!(answer.contains(" 200"), "{answer}");
        let fields = answer.lines().filter_map(|line| line.split_once(": "));
        let mut fields =
            fields.filter(|(name, _)| name.eq_ignore_ascii_case("x-forwarded-client-cert"));
        fields.next().map(|(_, value)| value.trim().to_owned())
    }

    /// Whether the client receives no response.
    fn refused(&self, port: u16, client: Option<&Pair>) -> bool {
        let (answer, status) = self.ask(port, "https", client);
        assert!(!answer.contains("HTTP/"), "{answer}");
        status != 0
    }
}

#[test]
fn clients_without_a_valid_certificate_get_no_response() {
    let [default, own] = [(); 2].map(|()| Authority::new());
    let front = Front::start(&default, &own);
    let https = front.gateway.https.port();
    let (good, wrong) = (default.client("good"), own.client("wrong"));

    let told = front.told(https, Some(&good)).unwrap();
    let (forged, told) = told.split_once(',').unwrap();
    assert_eq!(forged, "forged");
    assert!(told.starts_with("By=spiffe://a.test/edge;Hash="), "{told}");
    assert!(told.ends_with(";Subject=\"CN=good\""), "{told}");
    assert!(front.refused(https, Some(&wrong)));
    assert!(front.refused(https, None));
    let (plain, _) = front.ask(front.gateway.http.port(), "http", None);
    assert!(plain.starts_with("HTTP/1.1 200"), "{plain}");
    assert!(!plain.contains("forged"), "{plain}");
}

#[test]
fn each_port_has_its_own_cas_and_can_accept_unverified_clients() {
    let [default, own] = [(); 2].map(|()| Authority::new());
    let front = Front::start(&default, &own);
    let (known, unknown) = (own.client("known"), default.client("unknown"));

    let told = front.told(front.fallback, Some(&known)).unwrap();
    assert!(told.ends_with(";Subject=\"CN=known\""), "{told}");
    assert_eq!(front.told(front.fallback, Some(&unknown)), None);
    assert_eq!(front.told(front.fallback, None), None);
    assert!(front.refused(front.broken, Some(&known)));
}

#[test]
fn a_session_is_resumed_until_its_certificate_is_no_longer_trusted() {
    let [default, own] = [(); 2].map(|()| Authority::new());
    let front = Front::start(&default, &own);
    let client = default.client("good").save(&front.files, "resuming.pem");
    let session = front.files.path().join("session").display().to_string();
    let connect = |args: &[&str]| {
        let mut openssl = Command::new("openssl")
            .args(["s_client", "-connect", &front.gateway.https.to_string()])
            .args(["-servername", "a.test", "-cert", &client, "-key", &client])
            .args(["-alpn", "http/1.1", "-ign_eof"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        // The connection may already be closed, if the client was rejected.
        let _ = openssl.stdin.take().unwrap().write_all(request.as_bytes());
        let output = openssl.wait_with_output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };

    for version in ["-tls1_3", "-tls1_2"] {
        let first = connect(&[version, "-sess_out", &session]);
        let second = connect(&[version, "-sess_in", &session]);
        assert!(first.contains("\nNew, "), "{first}");
        assert!(second.contains("\nReused, "), "{second}");
        for answer in [&first, &second] {
            assert!(answer.contains("Subject=\"CN=good\""), "{answer}");
        }
    }

    front
        .manifests
        .write("default.yaml", &own.config_map("default"));
    let fresh = own.client("fresh");
    eventually("the other CA is trusted", || {
        let (answer, _) = front.ask(front.gateway.https.port(), "https", Some(&fresh));
        answer.contains(" 200").then_some(())
    });
    let resumed = connect(&["-tls1_2", "-sess_in", &session]);
    assert!(!resumed.contains("HTTP/1.1"), "{resumed}");
}

/// nginx as a TLS backend that returns the client certificate and the server name.
struct Nginx {
    address: SocketAddr,
    _process: Process,
    _folder: Folder,
}

impl Nginx {
    /// Starts nginx. `verify` is the value of `ssl_verify_client`: `on` or `off`.
    fn start(server: &Pair, clients: &Authority, verify: &str) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = Folder::new();
        let path = folder.path().display().to_string();
        folder.write("tls.crt", &server.certificate);
        folder.write("tls.key", &server.key);
        folder.write("ca.crt", &clients.pem);
        let mut config = format!(
            "daemon off; master_process off; pid {path}/nginx.pid; error_log stderr crit;\n\
             events {{ worker_connections 256; }}\nhttp {{ access_log off;\n"
        );
        for temporary in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            writeln!(config, "{temporary}_temp_path {path}/{temporary};").unwrap();
        }
        writeln!(
            config,
            "server {{ listen {address} ssl; ssl_certificate {path}/tls.crt; ssl_certificate_key {path}/tls.key;\n\
             ssl_client_certificate {path}/ca.crt; ssl_verify_client {verify};\n\
             location / {{ return 200 \"name=$ssl_server_name shown=$ssl_client_escaped_cert.\"; }} }} }}"
        )
        .unwrap();
        folder.write("nginx.conf", &config);
        let process = Command::new("nginx")
            .args(["-p", &path, "-c", &format!("{path}/nginx.conf")])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let process = Process(process);
        eventually("nginx listens", || {
            std::net::TcpStream::connect(address).ok()
        });
        Self {
            address,
            _process: process,
            _folder: folder,
        }
    }
}

/// Manifests of three Gateways: with a client certificate for backends, without a client certificate, and
/// with a reference to a missing client certificate.
fn back(policy: &str) -> String {
    let mut all = String::new();
    for (name, port, tls) in [
        (
            "shows",
            80,
            "{backend: {clientCertificateRef: {name: client}}}",
        ),
        ("silent", 81, "{}"),
        (
            "broken",
            82,
            "{backend: {clientCertificateRef: {name: nowhere}}}",
        ),
    ] {
        write!(
            all,
            "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: edge}}
spec:
  gatewayClassName: eg
  tls: {tls}
  listeners: [{{name: http, port: {port}, protocol: HTTP}}]
---
"
        )
        .unwrap();
    }
    write!(
        all,
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: all, namespace: edge}}
spec:
  parentRefs: [{{name: shows}}, {{name: silent}}, {{name: broken}}]
  rules: [{{backendRefs: [{{name: app, port: 443}}]}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {{name: app, namespace: edge}}
spec:
  targetRefs: [{{group: \"\", kind: Service, name: app}}]
  validation: {{{policy}}}
"
    )
    .unwrap();
    all
}

/// Sends a request on `port`. Returns status and body of the response.
fn get(port: u16) -> (String, String) {
    let (answer, _) = curl(&[&format!("http://127.0.0.1:{port}/")]);
    let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned());
    (status, body.unwrap_or_default())
}

const POLICY: &str =
    "hostname: app.internal, caCertificateRefs: [{group: \"\", kind: ConfigMap, name: ca}]";

#[test]
fn a_backend_receives_the_client_certificate_of_the_gateway() {
    let [servers, clients] = [(); 2].map(|()| Authority::new());
    let server = servers.server("app.internal", "spiffe://app");
    let client = clients.client("gateway");
    let nginx = Nginx::start(&server, &clients, "on");
    let folder = Folder::new();
    folder.write("back.yaml", &back(POLICY));
    folder.write("app.yaml", &service("app", nginx.address));
    folder.write("ca.yaml", &servers.config_map("ca"));
    folder.write("client.yaml", &client.secret("client"));
    let [silent, broken] = [free_port(), free_port()];
    let ports = [format!("81={silent}"), format!("82={broken}")];
    let gateway = Towergate::start(&folder, &["--port", &ports[0], "--port", &ports[1]]);

    let (status, body) = get(gateway.http.port());
    assert_eq!(status, "200", "{body}");
    let shown = body.strip_prefix("name=app.internal shown=").unwrap();
    let shown = shown.replace("%0A", "\n").replace("%20", " ");
    let shown = shown
        .replace("%2B", "+")
        .replace("%2F", "/")
        .replace("%3D", "=");
    let plain = |pem: &str| pem.replace(['\r', '\n', '.'], "");
    assert_eq!(plain(&shown), plain(&client.certificate));
    // nginx itself rejects the request.
    assert_eq!(get(silent).0, "400");
    // The gateway sends a local reply and no request.
    assert_eq!(get(broken).0, "500");

    // New connections use the new certificate.
    let next = clients.client("next");
    folder.write("client.yaml", &next.secret("client"));
    let part = next
        .certificate
        .lines()
        .nth(3)
        .unwrap()
        .replace('+', "%2B")
        .replace('/', "%2F");
    eventually("the next certificate is presented", || {
        get(gateway.http.port()).1.contains(&part).then_some(())
    });
}

#[test]
fn an_unverified_backend_receives_no_request() {
    let [servers, strangers] = [(); 2].map(|()| Authority::new());
    let server = servers.server("app.internal", "spiffe://app");
    let nginx = Nginx::start(&server, &servers, "off");
    let folder = Folder::new();
    folder.write("app.yaml", &service("app", nginx.address));
    folder.write("ca.yaml", &servers.config_map("ca"));
    folder.write("other.yaml", &strangers.config_map("other"));
    folder.write("empty.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: empty, namespace: edge}\ndata: {ca.crt: \"\"}\n");
    let names = |host: &str, names: &str| {
        format!(
            "hostname: {host}, caCertificateRefs: [{{group: \"\", kind: ConfigMap, name: ca}}], subjectAltNames: [{names}]"
        )
    };
    folder.write("back.yaml", &back(POLICY));
    let gateway = Towergate::start(&folder, &[]);
    let (status, _) = get(gateway.http.port());
    // The client certificate of the gateway is missing, although this backend does not request one.
    assert_eq!(status, "500");
    folder.write("client.yaml", &servers.client("gateway").secret("client"));
    for (policy, status, name) in [
        (POLICY.to_owned(), "200", "app.internal"),
        (POLICY.replace("app.internal", "other.internal"), "503", ""),
        (POLICY.replace("name: ca", "name: other"), "503", ""),
        (POLICY.replace("name: ca", "name: empty"), "500", ""),
        (
            names("x.internal", "{type: Hostname, hostname: app.internal}"),
            "200",
            "x.internal",
        ),
        (
            names("app.internal", "{type: Hostname, hostname: x.internal}"),
            "503",
            "",
        ),
        (
            names(
                "y.internal",
                "{type: Hostname, hostname: x.internal}, {type: URI, uri: \"spiffe://app\"}",
            ),
            "200",
            "y.internal",
        ),
        (
            names("app.internal", "{type: URI, uri: \"spiffe://other\"}"),
            "503",
            "",
        ),
        (POLICY.to_owned(), "200", "app.internal"),
    ] {
        folder.write("back.yaml", &back(&policy));
        let expected = format!("name={name} ");
        eventually(&format!("{status} for {policy}"), || {
            let (got, body) = get(gateway.http.port());
            (got == status && (name.is_empty() || body.starts_with(&expected))).then_some(())
        });
        // The result does not change afterwards.
        for _ in 0..5 {
            assert_eq!(get(gateway.http.port()).0, status, "{policy}");
        }
    }
}
