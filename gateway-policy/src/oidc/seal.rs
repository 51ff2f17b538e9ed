//! Encryption and signatures of cookies and of the state of a login.
//!
//! A key is derived by HKDF-SHA256 (RFC 5869) from each secret. Texts are sealed with AES-256-GCM-SIV (RFC
//! 8452), which allows random nonces for any number of messages. Texts are signed with HMAC-SHA256. The
//! purpose of a value is authenticated, so a value that was sealed for one purpose cannot be opened for
//! another.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{hkdf, hmac, rand};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

/// Minimum length of a secret from which keys are derived, in bytes.
pub const SHORTEST_SESSION_KEY: usize = 32;

/// Keys that seal and sign the data that browsers store for the gateway. The first key seals and
/// signs; all keys open and verify, so that keys can be replaced without ending sessions.
pub struct SessionKeys(Vec<DerivedKey>);

struct DerivedKey {
    seal: RandomizedNonceKey,
    sign: hmac::Key,
}

/// The reason why no key can be derived from the secrets.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionKeyError {
    /// There is no secret.
    #[error("there is no session key")]
    None,
    /// A secret is too short.
    #[error("a session key has less than {SHORTEST_SESSION_KEY} bytes")]
    TooShort,
    /// The cryptography library rejected the secret.
    #[error("the session key cannot be used")]
    Unusable,
}

impl SessionKeys {
    /// Derives keys from `secrets` for the policy that `identity` names.
    ///
    /// # Errors
    /// There is no secret, or one is too short.
    pub fn derive(secrets: &[&str], identity: &str) -> Result<Self, SessionKeyError> {
        if secrets.is_empty() {
            return Err(SessionKeyError::None);
        }
        let keys = secrets.iter().map(|secret| {
            if secret.len() < SHORTEST_SESSION_KEY {
                return Err(SessionKeyError::TooShort);
            }
            DerivedKey::of(b"towergate session key", secret, identity)
        });
        keys.collect::<Result<_, _>>().map(Self)
    }

    /// Keys that are derived from a client secret. All replicas have the same client secret, and it is as
    /// confidential as the keys.
    pub(super) fn of_client_secret(secret: &str, identity: &str) -> Self {
        let key = DerivedKey::of(b"towergate client secret", secret, identity);
        Self(key.into_iter().collect())
    }

    /// Encrypts and authenticates `text` for `purpose`. Returns base64url.
    pub fn seal(&self, purpose: &str, text: &[u8]) -> Option<String> {
        let key = &self.0.first()?.seal;
        let mut sealed = text.to_vec();
        let aad = Aad::from(purpose.as_bytes());
        let nonce = key.seal_in_place_append_tag(aad, &mut sealed).ok()?;
        sealed.splice(0..0, nonce.as_ref().iter().copied());
        Some(BASE64URL_NOPAD.encode(&sealed))
    }

    /// The text that was sealed for `purpose` by one of the keys.
    pub fn open(&self, purpose: &str, sealed: &str) -> Option<Vec<u8>> {
        let bytes = BASE64URL_NOPAD.decode(sealed.as_bytes()).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        self.0.iter().find_map(|key| {
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let aad = Aad::from(purpose.as_bytes());
            let mut text = sealed.to_vec();
            let length = key.seal.open_in_place(nonce, aad, &mut text).ok()?.len();
            text.truncate(length);
            Some(text)
        })
    }

    /// Signs `text` for `purpose`. Returns base64url.
    pub fn sign(&self, purpose: &str, text: &str) -> Option<String> {
        let key = &self.0.first()?.sign;
        Some(BASE64URL_NOPAD.encode(message(key, purpose, text).sign().as_ref()))
    }

    /// Whether one of the keys has signed `text` for `purpose`. The duration is the same for every wrong
    /// signature.
    pub fn verify(&self, purpose: &str, text: &str, signature: &str) -> bool {
        let Ok(signature) = BASE64URL_NOPAD.decode(signature.as_bytes()) else {
            return false;
        };
        self.0.iter().any(|key| {
            let mut signed = purpose.as_bytes().to_vec();
            signed.push(0);
            signed.extend_from_slice(text.as_bytes());
            hmac::verify(&key.sign, &signed, &signature).is_ok()
        })
    }
}

fn message(key: &hmac::Key, purpose: &str, text: &str) -> hmac::Context {
    let mut message = hmac::Context::with_key(key);
    message.update(purpose.as_bytes());
    message.update(&[0]);
    message.update(text.as_bytes());
    message
}

impl DerivedKey {
    fn of(salt: &[u8], secret: &str, identity: &str) -> Result<Self, SessionKeyError> {
        let unusable = |_| SessionKeyError::Unusable;
        let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret.as_bytes());
        let mut seal = [0; 32];
        let info = [&b"seal "[..], identity.as_bytes()];
        let key = derived.expand(&info, &AES_256_GCM_SIV).map_err(unusable)?;
        key.fill(&mut seal).map_err(unusable)?;
        let info = [&b"sign "[..], identity.as_bytes()];
        let sign = derived.expand(&info, hmac::HMAC_SHA256).map_err(unusable)?;
        Ok(Self {
            seal: RandomizedNonceKey::new(&AES_256_GCM_SIV, &seal).map_err(unusable)?,
            sign: hmac::Key::from(sign),
        })
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionKeys").field(&self.0.len()).finish()
    }
}

/// `N` random bytes.
pub(super) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).ok()?;
    Some(bytes)
}

/// Random text of 32 bytes, in base64url: a PKCE verifier, or a token against request forgery.
pub(super) fn random_text() -> Option<String> {
    random::<32>().map(|bytes| BASE64URL_NOPAD.encode(&bytes))
}

/// The random name of a login: 16 hexadecimal digits.
pub(super) fn random_flow() -> Option<String> {
    random::<8>().map(|bytes| HEXLOWER.encode(&bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: &str = "an old secret of at least 32 bytes";
    const NEW: &str = "a newer secret of at least 32 bytes";

    fn keys(secrets: &[&str]) -> SessionKeys {
        SessionKeys::derive(secrets, "policy").unwrap()
    }

    #[test]
    fn a_text_opens_only_for_its_purpose_its_policy_and_with_its_key() {
        let sealed = keys(&[NEW]).seal("access", b"token").unwrap();

        assert_eq!(keys(&[NEW]).open("access", &sealed).unwrap(), b"token");
        assert_eq!(keys(&[NEW]).open("refresh", &sealed), None);
        assert_eq!(keys(&[OLD]).open("access", &sealed), None);
        let other = SessionKeys::derive(&[NEW], "other policy").unwrap();
        assert_eq!(other.open("access", &sealed), None);
    }

    #[test]
    fn a_replaced_key_still_opens_and_verifies_while_it_is_listed() {
        let sealed = keys(&[OLD]).seal("access", b"token").unwrap();
        let signature = keys(&[OLD]).sign("session", "text").unwrap();

        let both = keys(&[NEW, OLD]);

        assert_eq!(both.open("access", &sealed).unwrap(), b"token");
        assert!(both.verify("session", "text", &signature));
        assert!(!both.verify("session", "texts", &signature));
        assert!(!both.verify("sessiont", "ext", &signature));
        assert!(!keys(&[NEW]).verify("session", "text", &signature));
        let renewed = both.seal("access", b"token").unwrap();
        assert_eq!(keys(&[OLD]).open("access", &renewed), None);
    }

    #[test]
    fn a_short_secret_is_no_key() {
        let short = SessionKeys::derive(&["too short"], "policy");
        assert_eq!(short.unwrap_err(), SessionKeyError::TooShort);
        assert_eq!(
            SessionKeys::derive(&[], "policy").unwrap_err(),
            SessionKeyError::None
        );
    }

    #[test]
    fn debug_output_has_no_key() {
        assert_eq!(format!("{:?}", keys(&[NEW, OLD])), "SessionKeys(2)");
    }

    proptest! {
        /// Decryption returns the encrypted text, and fails if any byte was changed.
        #[test]
        fn a_changed_text_does_not_open(text: Vec<u8>, at: usize, change in 1_u8..) {
            let keys = keys(&[NEW]);
            let sealed = keys.seal("p", &text).unwrap();
            let mut bytes = BASE64URL_NOPAD.decode(sealed.as_bytes()).unwrap();
            let at = at % bytes.len();

            bytes[at] ^= change;
            let changed = BASE64URL_NOPAD.encode(&bytes);

            prop_assert_eq!(keys.open("p", &sealed), Some(text));
            prop_assert_eq!(keys.open("p", &changed), None);
        }
    }
}
