//! Certificate revocation lists (RFC 5280, section 5) of client certificates.
//!
//! As in Envoy, a certificate is rejected if no valid list of its issuer is configured, because its
//! revocation status is unknown. A list must be complete, direct and of version 2, and must have `nextUpdate`
//! and extensions, as RFC 5280 requires. `openssl ca -gencrl` adds the extensions if the OpenSSL
//! configuration file sets `crl_extensions`.

use rustls_pki_types::{CertificateRevocationListDer, UnixTime};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::error::TlsError;
use crate::pem;

/// Revocation lists, and the certificates that are checked against them.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Revocation {
    /// Revocation lists as PEM (`X509 CRL`), one per issuer.
    pub lists_pem: String,
    /// Whether only the client's own certificate is checked, not its intermediate CAs.
    pub only_leaf: bool,
}

impl Revocation {
    /// The time at which the first list expires, in seconds since the epoch. From this time on, no
    /// certificate of the issuer of this list is accepted.
    ///
    /// # Errors
    /// As [`read_revocation_lists`].
    pub fn first_expiry(&self) -> Result<u64, TlsError> {
        let lists = read_revocation_lists(&self.lists_pem)?;
        let first = first_expiry(&lists)?;
        Ok(first.map_or(u64::MAX, |time| time.as_secs()))
    }
}

/// Reads revocation lists in PEM format.
///
/// # Errors
/// [`TlsError::Revocation`] if there is no list, or if a list is malformed.
pub fn read_revocation_lists(
    pem: &str,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let lists: Vec<CertificateRevocationListDer<'_>> = pem::sections(pem.as_bytes())
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Revocation(error.to_string()))?;
    if lists.is_empty() {
        return Err(TlsError::Revocation("there is no list".to_owned()));
    }
    for list in &lists {
        next_update(list)?;
    }
    Ok(lists)
}

/// The time at which the first of `lists` expires.
///
/// # Errors
/// As [`read_revocation_lists`].
pub(crate) fn first_expiry(
    lists: &[CertificateRevocationListDer<'_>],
) -> Result<Option<UnixTime>, TlsError> {
    let times = lists.iter().map(|list| next_update(list));
    let times = times.collect::<Result<Vec<_>, _>>()?;
    Ok(times.into_iter().min())
}

fn next_update(list: &[u8]) -> Result<UnixTime, TlsError> {
    let malformed = |message: &str| TlsError::Revocation(message.to_owned());
    let (_, read) =
        CertificateRevocationList::from_der(list).map_err(|_| malformed("a list is malformed"))?;
    if read.extensions().is_empty() {
        return Err(malformed(
            "a list has no extensions, but RFC 5280 requires them; issue it with crl_number and authorityKeyIdentifier",
        ));
    }
    let time = read.next_update().map(|time| time.timestamp());
    let time = time.and_then(|seconds| u64::try_from(seconds).ok());
    let time = time.ok_or_else(|| malformed("a list has no nextUpdate"))?;
    Ok(UnixTime::since_unix_epoch(std::time::Duration::from_secs(
        time,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TEST_CA;

    #[test]
    fn the_list_that_expires_first_determines_the_expiry() {
        let (early, late) = (TEST_CA.revoke(&[], 2030), TEST_CA.revoke(&[], 2040));
        let revocation = Revocation {
            lists_pem: late + &early,
            only_leaf: false,
        };

        // 2030-01-01T00:00:00Z
        assert_eq!(revocation.first_expiry().unwrap(), 1_893_456_000);
    }

    #[test]
    fn text_without_a_list_is_an_error() {
        for pem in [
            "",
            "hello",
            "-----BEGIN X509 CRL-----\naGVsbG8=\n-----END X509 CRL-----\n",
        ] {
            let error = read_revocation_lists(pem).unwrap_err();

            assert!(matches!(error, TlsError::Revocation(_)), "{pem}");
        }
    }
}
