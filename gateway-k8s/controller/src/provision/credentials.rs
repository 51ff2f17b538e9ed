//! The Secret by which a Gateway's data planes and the controller know each other.
//!
//! What is in it is made once and kept until it is to be renewed, or until the authority that signed it
//! is another one. Pods that mount it see the new content without a restart.

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::kind::Kind;
use super::metadata::Manifest;
use super::wanted::GatewayToRun;

/// The annotation that says from when on a certificate is to be replaced, in seconds since the epoch.
const RENEW_AFTER: &str = "towergate.dev/renew-after";
/// The annotation that says who signed the certificate.
const SIGNED_BY: &str = "towergate.dev/signed-by";

/// Who makes credentials of data planes.
pub(crate) trait Issuer: Send + Sync {
    /// A name of what signs, such as the fingerprint of its certificate. When it changes, all credentials
    /// are made anew.
    fn authority(&self) -> String;

    /// Credentials for the data planes of a Gateway with this identity.
    ///
    /// # Errors
    /// A sentence, if they cannot be made.
    fn issue(&self, gateway: &GatewayToRun) -> Result<Issued, String>;
}

/// What a data plane shows and whom it trusts; texts are PEM.
#[derive(Clone)]
pub(crate) struct Issued {
    /// Its certificate.
    pub(crate) certificate: String,
    /// The key of it.
    pub(crate) key: String,
    /// Who signs the certificate that the controller shows.
    pub(crate) trusted: String,
    /// From when on it is to be replaced, in seconds since the epoch.
    pub(crate) renew_after: i64,
}

/// The content of a Secret.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Credentials {
    /// Base64 by key, as the API has it.
    data: [(&'static str, String); 3],
    renew_after: i64,
    signed_by: String,
}

impl Credentials {
    /// What `live` holds if it will do, or else something new.
    ///
    /// # Errors
    /// Those of the issuer.
    pub(super) fn of(
        gateway: &GatewayToRun,
        live: Option<&Value>,
        now: i64,
        issuer: &dyn Issuer,
    ) -> Result<Self, String> {
        let authority = issuer.authority();
        let held = live.and_then(Self::read);
        let good = |held: &Self| held.renew_after > now && held.signed_by == authority;
        if let Some(held) = held.filter(good) {
            return Ok(held);
        }
        let issued = issuer.issue(gateway)?;
        let encode = |text: String| BASE64.encode(text.as_bytes());
        Ok(Self {
            data: [
                ("ca.crt", encode(issued.trusted)),
                ("tls.crt", encode(issued.certificate)),
                ("tls.key", encode(issued.key)),
            ],
            renew_after: issued.renew_after,
            signed_by: authority,
        })
    }

    /// Reads a Secret; `None`: something is missing.
    fn read(secret: &Value) -> Option<Self> {
        let data = |key: &'static str| Some((key, secret["data"][key].as_str()?.to_owned()));
        let annotation = |key: &str| secret["metadata"]["annotations"][key].as_str();
        Some(Self {
            data: [data("ca.crt")?, data("tls.crt")?, data("tls.key")?],
            renew_after: annotation(RENEW_AFTER)?.parse().ok()?,
            signed_by: annotation(SIGNED_BY)?.to_owned(),
        })
    }

    /// The Secret.
    pub(super) fn render(&self, gateway: &GatewayToRun, name: String) -> Manifest {
        let data = self.data.iter().cloned();
        let data = data.map(|(key, value)| (key.to_owned(), Value::from(value)));
        let rest =
            json!({ "type": "kubernetes.io/tls", "data": data.collect::<serde_json::Map<_, _>>() });
        let annotations = [
            (RENEW_AFTER.to_owned(), self.renew_after.to_string()),
            (SIGNED_BY.to_owned(), self.signed_by.clone()),
        ];
        Manifest::new(Kind::Secret, gateway, name, rest).annotate(&annotations.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Counting, gateway};
    use super::*;

    #[test]
    fn credentials_are_kept_until_they_are_to_be_renewed() {
        let (gateway, issuer) = (gateway("shared"), Counting::default());
        let first = Credentials::of(&gateway, None, 0, &issuer).unwrap();
        let secret = first.render(&gateway, "s".to_owned()).body;

        let same = Credentials::of(&gateway, Some(&secret), 999, &issuer).unwrap();
        let renewed = Credentials::of(&gateway, Some(&secret), 1000, &issuer).unwrap();

        assert!(same == first);
        assert!(renewed != first);
    }

    #[test]
    fn a_new_authority_makes_new_credentials() {
        let (gateway, issuer) = (gateway("shared"), Counting::default());
        let first = Credentials::of(&gateway, None, 0, &issuer).unwrap();
        let secret = first.render(&gateway, "s".to_owned()).body;

        issuer.change_authority();

        assert!(Credentials::of(&gateway, Some(&secret), 0, &issuer).unwrap() != first);
    }

    #[test]
    fn a_secret_that_lacks_something_is_made_anew() {
        let (gateway, issuer) = (gateway("shared"), Counting::default());
        let first = Credentials::of(&gateway, None, 0, &issuer).unwrap();
        let mut secret = first.render(&gateway, "s".to_owned()).body;

        secret["data"].as_object_mut().unwrap().remove("tls.key");

        assert!(Credentials::of(&gateway, Some(&secret), 0, &issuer).unwrap() != first);
    }
}
