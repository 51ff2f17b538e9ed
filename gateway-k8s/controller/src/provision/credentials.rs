//! The Secret with the credentials of the data planes of a Gateway.
//!
//! The credentials are kept until they are due for renewal or the CA changes. A pod that mounts the Secret
//! receives new content without a restart.

use std::time::SystemTime;

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::desired::GatewayToRun;
use super::kind::Kind;
use super::metadata::Manifest;
use crate::serve::{CertificateAuthority, Credentials, CredentialsError};

/// Returns the credentials of the Secret `live` if they are up to date, else creates new credentials.
///
/// # Errors
/// If the credentials cannot be created.
pub(super) fn of(
    gateway: &GatewayToRun,
    live: Option<&Value>,
    authority: &CertificateAuthority,
    now: SystemTime,
) -> Result<Credentials, CredentialsError> {
    let held = live.and_then(read);
    match held.filter(|held| authority.is_good(held, now)) {
        Some(held) => Ok(held),
        None => authority.plane(&gateway.key.to_string(), now),
    }
}

/// Reads the credentials of a Secret. `None`: a key is missing or invalid.
fn read(secret: &Value) -> Option<Credentials> {
    let text = |key: &str| {
        let bytes = BASE64
            .decode(secret["data"][key].as_str()?.as_bytes())
            .ok()?;
        String::from_utf8(bytes).ok()
    };
    Some(Credentials {
        authorities: text("ca.crt")?,
        certificate: text("tls.crt")?,
        key: text("tls.key")?,
    })
}

/// Renders the Secret.
pub(super) fn render(gateway: &GatewayToRun, name: String, credentials: &Credentials) -> Manifest {
    let encode = |text: &str| BASE64.encode(text.as_bytes());
    let rest = json!({
        "type": "kubernetes.io/tls",
        "data": {
            "ca.crt": encode(&credentials.authorities),
            "tls.crt": encode(&credentials.certificate),
            "tls.key": encode(&credentials.key),
        },
    });
    Manifest::new(Kind::Secret, gateway, name, rest)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::gateway;
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn secret(authority: &CertificateAuthority, now: SystemTime) -> (Credentials, Value) {
        let gateway = gateway("shared");
        let credentials = of(&gateway, None, authority, now).unwrap();
        let secret = render(&gateway, "s".to_owned(), &credentials).body;
        (credentials, secret)
    }

    #[test]
    fn credentials_are_kept_until_they_are_to_be_renewed() {
        let now = SystemTime::now();
        let authority = CertificateAuthority::create(now).unwrap();
        let (first, secret) = secret(&authority, now);
        let at = |time| of(&gateway("shared"), Some(&secret), &authority, time).unwrap();

        assert!(at(now + 10 * DAY) == first);
        assert!(at(now + 80 * DAY) != first);
    }

    #[test]
    fn a_new_authority_makes_new_credentials() {
        let now = SystemTime::now();
        let authority = CertificateAuthority::create(now).unwrap();
        let (first, secret) = secret(&authority, now);

        let next = authority.renew(now).unwrap();

        assert!(of(&gateway("shared"), Some(&secret), &next, now).unwrap() != first);
    }

    #[test]
    fn a_secret_that_lacks_something_is_made_anew() {
        let now = SystemTime::now();
        let authority = CertificateAuthority::create(now).unwrap();
        let (first, mut secret) = secret(&authority, now);

        secret["data"].as_object_mut().unwrap().remove("tls.key");

        assert!(of(&gateway("shared"), Some(&secret), &authority, now).unwrap() != first);
    }
}
