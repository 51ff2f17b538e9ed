//! Backend certificates that are also configured as trusted CA certificates.
//!
//! `openssl req -x509` issues self-signed certificates with `CA:TRUE`, and some appliances present such a
//! certificate. webpki rejects a CA certificate that a server presents as its own certificate. If the same
//! certificate, byte for byte, is configured as a trusted CA, its key is already trusted. In this case only
//! the validity period, the purpose and the names of the certificate are verified.

use rustls::{CertificateError, Error};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::pem;

/// Configured CA certificates that a backend may present as its own certificate.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrustedLeaves(Vec<CertificateDer<'static>>);

impl TrustedLeaves {
    /// Selects the CA certificates in `roots_pem` that are self-issued (issuer equals subject). webpki
    /// verifies all other certificates.
    pub(crate) fn new(roots_pem: &str) -> Self {
        let sections = pem::sections(roots_pem.as_bytes());
        let own = |der: &CertificateDer<'_>| {
            X509Certificate::from_der(der).is_ok_and(|(_, certificate)| {
                certificate.is_ca()
                    && certificate.subject().as_raw() == certificate.issuer().as_raw()
            })
        };
        Self(sections.into_iter().flatten().filter(own).collect())
    }

    /// Whether the list is empty, because no CA certificate is self-issued.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Verifies validity period and purpose of a certificate, but not its names. `None`: the certificate is
    /// not in the list of trusted leaves, so the caller must verify its chain.
    pub(crate) fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        now: UnixTime,
    ) -> Option<Result<(), Error>> {
        if !self.0.iter().any(|own| **own == **end_entity) {
            return None;
        }
        Some(check(end_entity, now).map_err(Error::InvalidCertificate))
    }
}

fn check(end_entity: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let (_, certificate) =
        X509Certificate::from_der(end_entity).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < certificate.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet);
    }
    if now > certificate.validity().not_after.timestamp() {
        return Err(CertificateError::Expired);
    }
    match certificate.extended_key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(usage)) if usage.value.server_auth || usage.value.any => Ok(()),
        Ok(Some(_)) => Err(CertificateError::InvalidPurpose),
        Err(_) => Err(CertificateError::BadEncoding),
    }
}
