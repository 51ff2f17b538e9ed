//! The CA of controllers and data planes, and the certificates that it signs.
//!
//! ```text
//! CertificateAuthority (10 years) ─┬─> the controller's certificate (90 days): a DNS name, for servers
//!                                  └─> a plane's certificate (90 days): a URI that names the plane, for clients
//! ```
//!
//! Certificates are renewed when a third of their validity is left. After the renewal of a CA, the previous
//! CA remains trusted until it expires. Only data planes and controllers trust this CA, and it signs only
//! their certificates.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use towergate_k8s::wire::{CONTROLLER_NAME, plane_uri};
use towergate_tls::rustls::pki_types::CertificateDer;
use towergate_tls::rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

const DAY: Duration = Duration::from_secs(86_400);
/// Validity of a CA certificate.
const AUTHORITY_TIME: Duration = DAY.saturating_mul(3650);
/// Validity of a signed certificate.
const LEAF_TIME: Duration = DAY.saturating_mul(90);
/// Time by which certificates are backdated, for peers whose clock is slow.
const SLACK: Duration = Duration::from_secs(3600);

/// An error of credentials. The messages contain no keys.
#[derive(Debug)]
pub(crate) enum CredentialsError {
    /// Invalid name of a plane.
    PlaneName(String),
    /// Stored credentials are invalid.
    Unusable(String),
    /// Credentials cannot be created.
    Make(rcgen::Error),
    /// A file cannot be read or written.
    File(String, io::Error),
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PlaneName(name) => {
                write!(
                    f,
                    "`{name}` is neither `shared` nor NAMESPACE/NAME of a Gateway"
                )
            }
            Self::Unusable(why) => write!(f, "credentials are not usable: {why}"),
            Self::Make(error) => write!(f, "credentials cannot be created: {error}"),
            Self::File(path, error) => write!(f, "{path}: {error}"),
        }
    }
}

impl std::error::Error for CredentialsError {}

impl From<rcgen::Error> for CredentialsError {
    fn from(error: rcgen::Error) -> Self {
        Self::Make(error)
    }
}

/// Signs the certificates of controllers and data planes.
pub(crate) struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    /// Certificate of this CA, then the certificates of previous CAs that are still trusted.
    trusted: Vec<String>,
}

/// A CA in PEM format, as stored in a Secret or in files.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct CaPem {
    /// `ca.crt`: certificate of the CA, then the certificates of previous CAs that are still trusted.
    pub(crate) certificates: String,
    /// `ca.key`: private key of the CA.
    pub(crate) key: String,
}

/// Certificate, key and trusted CAs of one side of a connection in PEM format.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Credentials {
    /// `ca.crt`: certificates of the trusted CAs.
    pub(crate) authorities: String,
    /// `tls.crt`: certificate.
    pub(crate) certificate: String,
    /// `tls.key`: private key.
    pub(crate) key: String,
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CaPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaPem").finish_non_exhaustive()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl CertificateAuthority {
    /// Creates a CA.
    ///
    /// # Errors
    /// If the CA cannot be created.
    pub(crate) fn create(now: SystemTime) -> Result<Self, CredentialsError> {
        Self::after(Vec::new(), now)
    }

    /// Reads a stored CA.
    ///
    /// # Errors
    /// If the stored CA is invalid.
    pub(crate) fn from_pem(pem: &CaPem) -> Result<Self, CredentialsError> {
        let trusted = sections(&pem.certificates);
        let unusable = |what: &str| CredentialsError::Unusable(what.to_owned());
        let current = trusted.first().ok_or_else(|| unusable("ca.crt is empty"))?;
        let key = KeyPair::from_pem(&pem.key).map_err(|_| unusable("ca.key cannot be read"))?;
        if !has_key(current, &key) {
            return Err(unusable("ca.key does not belong to ca.crt"));
        }
        Ok(Self {
            issuer: Issuer::new(authority_params(UNIX_EPOCH), key),
            trusted,
        })
    }

    /// The CA in PEM format, to be stored.
    pub(crate) fn to_pem(&self) -> CaPem {
        CaPem {
            certificates: self.trusted.concat(),
            key: self.issuer.key().serialize_pem(),
        }
    }

    /// Whether the CA is due for [renewal](Self::renew).
    pub(crate) fn is_due(&self, now: SystemTime) -> bool {
        let current = self.trusted.first();
        current.and_then(|pem| is_due(pem, now)).unwrap_or(true)
    }

    /// Creates the next CA. Its trusted certificates include those of this CA. All peers must receive the
    /// certificate of the next CA.
    ///
    /// # Errors
    /// If the CA cannot be created.
    pub(crate) fn renew(&self, now: SystemTime) -> Result<Self, CredentialsError> {
        let valid = |pem: &&String| validity(pem).is_some_and(|(_, end)| end > now);
        Self::after(self.trusted.iter().filter(valid).cloned().collect(), now)
    }

    fn after(before: Vec<String>, now: SystemTime) -> Result<Self, CredentialsError> {
        let key = KeyPair::generate()?;
        let params = authority_params(now);
        let mut trusted = vec![params.self_signed(&key)?.pem()];
        trusted.extend(before);
        let issuer = Issuer::new(params, key);
        Ok(Self { issuer, trusted })
    }

    /// Creates credentials of the controller's server.
    ///
    /// # Errors
    /// If the credentials cannot be created.
    pub(crate) fn controller(&self, now: SystemTime) -> Result<Credentials, CredentialsError> {
        let name = SanType::DnsName(CONTROLLER_NAME.try_into()?);
        self.sign(name, ExtendedKeyUsagePurpose::ServerAuth, now)
    }

    /// Creates credentials of the data planes of `plane`: `shared`, or `NAMESPACE/NAME` of a Gateway.
    ///
    /// # Errors
    /// If the name is invalid, or the credentials cannot be created.
    pub(crate) fn plane(
        &self,
        plane: &str,
        now: SystemTime,
    ) -> Result<Credentials, CredentialsError> {
        let uri = plane_uri(plane);
        let uri = uri.ok_or_else(|| CredentialsError::PlaneName(plane.to_owned()))?;
        let name = SanType::URI(uri.try_into()?);
        self.sign(name, ExtendedKeyUsagePurpose::ClientAuth, now)
    }

    /// Whether `credentials` are up to date: they contain the same trusted CAs, this CA signed them, and at
    /// least a third of their validity is left.
    pub(crate) fn is_good(&self, credentials: &Credentials, now: SystemTime) -> bool {
        sections(&credentials.authorities) == self.trusted
            && is_due(&credentials.certificate, now) == Some(false)
            && is_signed(&credentials.certificate, self.trusted.first())
    }

    /// Whether peers of this CA accept `credentials`: this CA or a previous one that is still trusted signed
    /// them, and at least a third of their validity is left.
    pub(crate) fn trusts(&self, credentials: &Credentials, now: SystemTime) -> bool {
        let signed = |by| is_signed(&credentials.certificate, Some(by));
        is_due(&credentials.certificate, now) == Some(false) && self.trusted.iter().any(signed)
    }

    fn sign(
        &self,
        name: SanType,
        usage: ExtendedKeyUsagePurpose,
        now: SystemTime,
    ) -> Result<Credentials, CredentialsError> {
        let key = KeyPair::generate()?;
        let mut params = params("towergate", now, LEAF_TIME);
        params.subject_alt_names = vec![name];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        Ok(Credentials {
            authorities: self.trusted.concat(),
            certificate: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

impl Credentials {
    /// Reads `ca.crt`, `tls.crt` and `tls.key` of a folder. `None`: a file is missing.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, CredentialsError> {
        let read = |name: &str| {
            let path = folder.join(name);
            match fs::read_to_string(&path) {
                Ok(text) => Ok(Some(text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(CredentialsError::File(path.display().to_string(), error)),
            }
        };
        let files = (read("ca.crt")?, read("tls.crt")?, read("tls.key")?);
        let (Some(authorities), Some(certificate), Some(key)) = files else {
            return Ok(None);
        };
        Ok(Some(Self {
            authorities,
            certificate,
            key,
        }))
    }

    /// Writes the credentials to a folder, which is created if missing. Each file is replaced atomically, the
    /// certificate last. A reader must retry if key and certificate do not match.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), CredentialsError> {
        let fail = |path: &Path| {
            let path = path.display().to_string();
            |error| CredentialsError::File(path, error)
        };
        fs::create_dir_all(folder).map_err(fail(folder))?;
        for (name, text) in [
            ("ca.crt", &self.authorities),
            ("tls.key", &self.key),
            ("tls.crt", &self.certificate),
        ] {
            let path = folder.join(name);
            replace(&path, text).map_err(fail(&path))?;
        }
        Ok(())
    }
}

/// Replaces a file atomically. The new file has mode 0600 from its creation.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let _ = fs::remove_file(&fresh);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(fresh, path)
}

/// The parameters of a CA certificate. All CAs have the same name; the key identifier distinguishes them.
fn authority_params(now: SystemTime) -> CertificateParams {
    let mut params = params("towergate authority", now, AUTHORITY_TIME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn params(name: &str, now: SystemTime, time: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    let start = now.checked_sub(SLACK).unwrap_or(now);
    params.not_before = start.into();
    params.not_after = (now + time).into();
    params
}

/// Splits PEM data into its certificates.
fn sections(pem: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let whole = |section: &str| {
        let start = section.find("-----BEGIN CERTIFICATE-----")?;
        Some(format!("{}\n", section[start..].trim_end()))
    };
    let sections = pem.split_inclusive(END).filter(|text| text.ends_with(END));
    sections.filter_map(whole).collect()
}

/// Parses the first certificate of PEM data and applies `see` to it.
fn look<T>(pem: &str, see: impl FnOnce(&X509Certificate<'_>) -> Option<T>) -> Option<T> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    see(&certificate)
}

fn validity(pem: &str) -> Option<(SystemTime, SystemTime)> {
    look(pem, |certificate| {
        let time = |seconds: i64| {
            let seconds = u64::try_from(seconds).ok()?;
            UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
        };
        let validity = certificate.validity();
        let start = time(validity.not_before.timestamp())?;
        Some((start, time(validity.not_after.timestamp())?))
    })
}

/// Whether less than a third of the validity of a certificate is left. `None`: `pem` is not a certificate.
fn is_due(pem: &str, now: SystemTime) -> Option<bool> {
    let (start, end) = validity(pem)?;
    let whole = end.duration_since(start).unwrap_or_default();
    Some(end.duration_since(now).unwrap_or_default() < whole / 3)
}

fn has_key(pem: &str, key: &KeyPair) -> bool {
    use rcgen::PublicKeyData;
    let same = |certificate: &X509Certificate<'_>| {
        Some(certificate.public_key().raw == key.subject_public_key_info())
    };
    look(pem, same).unwrap_or(false)
}

/// Whether the authority key identifier of the certificate is the subject key identifier of the CA.
fn is_signed(pem: &str, authority: Option<&String>) -> bool {
    use x509_parser::extensions::ParsedExtension;
    let names = look(pem, |leaf| {
        let mut extensions = leaf.extensions().iter();
        extensions.find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                Some(id.key_identifier.as_ref()?.0.to_vec())
            }
            _ => None,
        })
    });
    let is = authority.and_then(|pem| {
        look(pem, |authority| {
            let mut extensions = authority.extensions().iter();
            extensions.find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            })
        })
    });
    names.is_some() && names == is
}

#[cfg(test)]
mod tests;
