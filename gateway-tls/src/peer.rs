//! The identity of a client, from its certificate.
//!
//! ```text
//! CN=client,O=Example,C=DE      a subject in the format of RFC 2253, as OpenSSL prints it
//! ```

use std::fmt::{self, Write};

use data_encoding::{BASE64, HEXLOWER};
use rustls::SupportedCipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::crypto::hash::{Hash, HashAlgorithm};
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::ToDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// A verified client certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientCertificate {
    chain: Vec<CertificateDer<'static>>,
    sha256: String,
    subject: String,
    issuer: String,
    uris: Vec<String>,
    dns_names: Vec<String>,
    server_uris: Vec<String>,
}

impl ClientCertificate {
    /// Parses a certificate; `None` if it is malformed. `server` is the certificate that the client
    /// received.
    pub(crate) fn read(
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        server: Option<&CertificateDer<'_>>,
        sha256: Sha256,
    ) -> Option<Self> {
        let (_, read) = X509Certificate::from_der(leaf).ok()?;
        let (uris, dns_names) = alternative_names(&read);
        let server = server.and_then(|server| X509Certificate::from_der(server).ok());
        let server_uris = server.map(|(_, server)| alternative_names(&server).0);
        let chain = std::iter::once(leaf).chain(rest);
        Some(Self {
            chain: chain.map(|one| one.clone().into_owned()).collect(),
            sha256: HEXLOWER.encode(&sha256.hash(leaf)?),
            subject: distinguished_name(read.subject()),
            issuer: distinguished_name(read.issuer()),
            uris,
            dns_names,
            server_uris: server_uris.unwrap_or_default(),
        })
    }

    /// The chain that the client sent, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// SHA-256 of the certificate (DER), in lower-case hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Subject in the format of RFC 2253, in ASCII; may be empty.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Issuer in the format of RFC 2253, in ASCII; may be empty.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// URIs of the SAN extension.
    pub fn uris(&self) -> &[String] {
        &self.uris
    }

    /// DNS names of the SAN extension.
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    /// URIs of the server certificate that the client received.
    pub fn server_uris(&self) -> &[String] {
        &self.server_uris
    }

    /// The leaf certificate as PEM.
    pub fn pem(&self) -> String {
        self.chain.first().map(|leaf| pem(leaf)).unwrap_or_default()
    }

    /// The chain as PEM.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|one| pem(one)).collect()
    }
}

/// URIs and DNS names of the SAN extension.
fn alternative_names(certificate: &X509Certificate<'_>) -> (Vec<String>, Vec<String>) {
    let (mut uris, mut dns) = (Vec::new(), Vec::new());
    let san = certificate.subject_alternative_name().ok().flatten();
    for name in san.iter().flat_map(|san| &san.value.general_names) {
        match name {
            GeneralName::URI(uri) => uris.push((*uri).to_owned()),
            GeneralName::DNSName(name) => dns.push((*name).to_owned()),
            _ => {}
        }
    }
    (uris, dns)
}

/// PEM with lines of 64 characters (RFC 7468).
fn pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut pem = String::with_capacity(text.len() + text.len() / 64 + 64);
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// Formats a distinguished name. The last relative distinguished name comes first (RFC 2253, section 2.1).
fn distinguished_name(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for (at, part) in parts.into_iter().rev().enumerate() {
        if at > 0 {
            text.push(',');
        }
        let attributes: Vec<_> = part.iter().collect();
        for (at, attribute) in attributes.into_iter().rev().enumerate() {
            if at > 0 {
                text.push('+');
            }
            write_attribute(&mut text, attribute);
        }
    }
    text
}

/// Object identifiers of attributes and their names in OpenSSL.
const ATTRIBUTES: [(&str, &str); 17] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.46", "dnQualifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

fn write_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let oid = attribute.attr_type().to_id_string();
    let name = ATTRIBUTES.iter().find(|(known, _)| *known == oid);
    match (name, attribute.as_str()) {
        (Some((_, name)), Ok(value)) => {
            text.push_str(name);
            text.push('=');
            write_value(text, value);
        }
        // A value without a string form is written as DER (RFC 2253, section 2.4).
        (name, _) => {
            text.push_str(name.map_or(oid.as_str(), |(_, name)| name));
            text.push_str("=#");
            let der = attribute.attr_value().to_der_vec().unwrap_or_default();
            text.push_str(&HEXLOWER.encode(&der).to_ascii_uppercase());
        }
    }
}

fn write_value(text: &mut String, value: &str) {
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b'#' if at == 0 => text.push_str("\\#"),
            b' ' if at == 0 || at == last => text.push_str("\\ "),
            b' '..=b'~' => text.push(char::from(byte)),
            other => write!(text, "\\{other:02X}").expect("writing to a string does not fail"),
        }
    }
}

/// The SHA-256 implementation of a crypto provider; `None` if the provider has none.
#[derive(Clone, Copy)]
pub(crate) struct Sha256(Option<&'static dyn Hash>);

impl Sha256 {
    pub(crate) fn of(provider: &CryptoProvider) -> Self {
        let hashes = provider.cipher_suites.iter().map(|suite| match suite {
            SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider,
            SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider,
        });
        let mut hashes = hashes.filter(|hash| hash.algorithm() == HashAlgorithm::SHA256);
        Self(hashes.next())
    }

    pub(crate) fn hash(self, data: &[u8]) -> Option<Vec<u8>> {
        Some(self.0?.hash(data).as_ref().to_vec())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256")
    }
}

#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
mod tests {
    use rcgen::{DistinguishedName, DnType};
    use rustls_pki_types::pem::PemObject;

    use super::*;
    use crate::default_provider;
    use crate::testing::{Key, TEST_CA, params};

    fn read(names: &[&str], subject: DistinguishedName) -> (ClientCertificate, String) {
        let mut params = params(names);
        params.distinguished_name = subject;
        let (pem, _) = TEST_CA.sign(&params, Key::P256);
        let leaf = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let sha256 = Sha256::of(&default_provider());
        let read = ClientCertificate::read(&leaf, &[], Some(&leaf), sha256);
        (read.unwrap(), pem)
    }

    #[test]
    fn a_certificate_identifies_the_client() {
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CountryName, "DE");
        subject.push(DnType::OrganizationName, "Example, Inc.");
        subject.push(DnType::CommonName, "client");

        let names = ["a.test", "spiffe://a.test/b", "b.test"];
        let (client, pem) = read(&names, subject);

        assert_eq!(client.subject(), r"CN=client,O=Example\, Inc.,C=DE");
        assert_eq!(client.issuer(), "CN=test");
        assert_eq!(client.dns_names(), ["a.test", "b.test"]);
        assert_eq!(client.uris(), ["spiffe://a.test/b"]);
        assert_eq!(client.server_uris(), client.uris());
        assert_eq!(
            client.pem().replace('\n', ""),
            pem.replace(['\r', '\n'], "")
        );
        assert_eq!(client.pem(), client.chain_pem());
        assert_eq!(client.sha256().len(), 64);
    }

    #[test]
    fn a_subject_is_ascii_and_its_special_characters_are_escaped() {
        for (value, written) in [
            ("plain text", "plain text"),
            ("a\"b;c<d>e+f\\g", r#"a\"b\;c\<d\>e\+f\\g"#),
            ("#1", r"\#1"),
            (" x ", r"\ x\ "),
            ("Grüße", r"Gr\C3\BC\C3\9Fe"),
            ("a\nb", r"a\0Ab"),
        ] {
            let mut subject = DistinguishedName::new();
            subject.push(DnType::CommonName, value);

            let (client, _) = read(&[], subject);

            assert_eq!(client.subject(), format!("CN={written}"));
        }
    }

    /// The expected values are the subjects that Envoy sent to backends for these certificates. OpenSSL
    /// created the certificates.
    #[test]
    fn subjects_have_the_format_of_envoy() {
        for (pem, written) in [
            (
                include_str!("../testdata/subject.pem"),
                r#"CN=the client,serialNumber=77,title=T,GN=g,emailAddress=a@b.test,UID=u1,DC=com,OU=\ lead,O=Example\, Inc. \"q\" \<y\>\;z=1,L=\#x,ST=S\C3\BCd,C=DE"#,
            ),
            (
                include_str!("../testdata/subject-of-two.pem"),
                "OU=multi+CN=bare",
            ),
        ] {
            let leaf = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            let sha256 = Sha256::of(&default_provider());

            let read = ClientCertificate::read(&leaf, &[], None, sha256).unwrap();

            assert_eq!(read.subject(), written);
        }
    }

    #[test]
    fn an_attribute_without_a_name_is_written_as_der() {
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CustomDnType(vec![1, 2, 3]), "x");

        let (client, _) = read(&[], subject);

        assert_eq!(client.subject(), "1.2.3=#0C0178");
    }

    #[test]
    fn the_hash_covers_the_whole_certificate() {
        let sha256 = Sha256::of(&default_provider());

        let hash = sha256.hash(b"abc").unwrap();

        // FIPS 180-4, appendix of examples.
        assert_eq!(
            HEXLOWER.encode(&hash),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
