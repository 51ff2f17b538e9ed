//! JSON Web Key Sets (RFC 7517) and the verification of signatures with them.
//!
//! A key is parsed once, for the algorithms that its type and its `alg` allow. A token can therefore not
//! choose how its key is interpreted: an RSA key is never used as an HMAC secret. Signatures are verified by
//! AWS-LC.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};
use towergate_core::policy::Live;

use super::token::object;
use super::verified_cache::KeySetId;
use super::{JwtError, UnverifiedToken};

/// Maximum length of a key set, in bytes.
pub const MAX_KEY_SET_LENGTH: usize = 512 * 1024;
/// Maximum number of keys of a set.
const MAX_KEYS: usize = 256;

/// A signature algorithm of a token (RFC 7518 section 3.1, RFC 8037).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSA PKCS #1 v1.5 with SHA-256.
    Rs256,
    /// RSA PKCS #1 v1.5 with SHA-384.
    Rs384,
    /// RSA PKCS #1 v1.5 with SHA-512.
    Rs512,
    /// RSA PSS with SHA-256.
    Ps256,
    /// RSA PSS with SHA-384.
    Ps384,
    /// RSA PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 13] = [
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
    ];

    /// The name of the algorithm in `alg`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
        }
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&RSA_PSS_2048_8192_SHA512),
            _ => None,
        }
    }

    fn hmac(self) -> Option<hmac::Algorithm> {
        match self {
            Self::Hs256 => Some(hmac::HMAC_SHA256),
            Self::Hs384 => Some(hmac::HMAC_SHA384),
            Self::Hs512 => Some(hmac::HMAC_SHA512),
            _ => None,
        }
    }
}

impl FromStr for Algorithm {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let mut all = Self::ALL.into_iter();
        all.find(|algorithm| algorithm.name() == name).ok_or(())
    }
}

/// The reason why a key set cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// The text is too long.
    #[error("the key set is longer than {MAX_KEY_SET_LENGTH} bytes")]
    TooLong,
    /// The text is not a JSON object with a list `keys`.
    #[error("the key set is not a JSON object with a list `keys`")]
    NotAKeySet,
    /// No key of the set can verify a signature.
    #[error("the key set has no usable key: {0}")]
    NoUsableKey(String),
}

/// The keys of a provider.
#[derive(Debug)]
pub struct KeySet {
    pub(super) id: KeySetId,
    keys: Vec<VerificationKey>,
}

/// A key and the restrictions of its use.
struct VerificationKey {
    id: Option<String>,
    /// The only algorithm, if the key has `alg`. `None`: every algorithm of the key's type.
    only: Option<Algorithm>,
    material: KeyMaterial,
}

/// A public key or a shared secret. It is parsed separately for each algorithm that may use it.
enum KeyMaterial {
    Rsa(Vec<(Algorithm, ParsedPublicKey)>),
    Point(Algorithm, ParsedPublicKey),
    Secret(Vec<(Algorithm, hmac::Key)>),
}

impl fmt::Debug for VerificationKey {
    /// Omits the key material, which may include a shared secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("id", &self.id)
            .field("only", &self.only)
            .finish_non_exhaustive()
    }
}

impl KeySet {
    /// Reads a key set. Keys of unknown kinds, and keys for encryption, are omitted.
    ///
    /// # Errors
    /// If the JSON is not a key set, or none of its keys can verify a signature.
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        if text.len() > MAX_KEY_SET_LENGTH {
            return Err(KeySetError::TooLong);
        }
        let set = object(text).ok_or(KeySetError::NotAKeySet)?;
        let Some(Value::Array(list)) = set.get("keys") else {
            return Err(KeySetError::NotAKeySet);
        };
        let mut keys = Vec::new();
        let mut reason = "it is empty".to_owned();
        for (index, jwk) in list.iter().enumerate().take(MAX_KEYS) {
            match VerificationKey::parse(jwk) {
                Ok(key) => keys.push(key),
                Err(error) => reason = format!("key {index}: {error}"),
            }
        }
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey(reason));
        }
        let id = KeySetId::of(text);
        Ok(Self { id, keys })
    }

    /// The key set with this JSON. All policies with the same JSON share it.
    ///
    /// # Errors
    /// The errors of [`Self::parse`].
    pub(super) fn shared(text: &[u8], live: &Live) -> Result<Arc<Self>, KeySetError> {
        let key = ("key set", KeySetId::of(text));
        live.try_share(key, |_| Self::parse(text).map(Arc::new))
    }

    /// Verifies the signature of `token`.
    ///
    /// # Errors
    /// [`JwtError::NoKey`] if no key matches, [`JwtError::BadSignature`] if no matching key
    /// verifies the signature.
    pub fn verify(&self, token: &UnverifiedToken<'_>) -> Result<(), JwtError> {
        let mut error = JwtError::NoKey;
        for key in self.keys.iter().filter(|key| key.fits(token)) {
            if key.material.verifies(token) {
                return Ok(());
            }
            error = JwtError::BadSignature;
        }
        Err(error)
    }
}

impl VerificationKey {
    fn parse(jwk: &Value) -> Result<Self, &'static str> {
        let Value::Object(jwk) = jwk else {
            return Err("a key is not a JSON object");
        };
        let text = |name: &str| match jwk.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err("a member is not a string"),
        };
        if text("use")?.is_some_and(|purpose| purpose != "sig") {
            return Err("`use` is not `sig`");
        }
        if let Some(Value::Array(operations)) = jwk.get("key_ops")
            && !operations.iter().any(|operation| operation == "verify")
        {
            return Err("`key_ops` lacks `verify`");
        }
        let only = match text("alg")? {
            None => None,
            Some(name) => Some(name.parse().map_err(|()| "`alg` is not supported")?),
        };
        let material = KeyMaterial::parse(text("kty")?, jwk, only)?;
        if only.is_some_and(|algorithm| !material.serves(algorithm)) {
            return Err("`alg` does not fit `kty`");
        }
        let id = text("kid")?.map(str::to_owned);
        Ok(Self { id, only, material })
    }

    /// Whether `kid` and `alg` of the token allow this key.
    fn fits(&self, token: &UnverifiedToken<'_>) -> bool {
        let named = match (&self.id, &token.key_id) {
            (Some(own), Some(asked)) => own == asked,
            _ => true,
        };
        named && self.only.is_none_or(|only| only == token.algorithm)
    }
}

impl KeyMaterial {
    fn parse(
        kind: Option<&str>,
        jwk: &Map<String, Value>,
        only: Option<Algorithm>,
    ) -> Result<Self, &'static str> {
        let bytes = |name: &str| {
            let text = jwk.get(name).and_then(Value::as_str);
            text.and_then(|text| {
                BASE64URL_NOPAD
                    .decode(text.trim_end_matches('=').as_bytes())
                    .ok()
            })
        };
        match kind {
            Some("RSA") => {
                let (n, e) = bytes("n")
                    .zip(bytes("e"))
                    .ok_or("`n` or `e` is not base64url")?;
                Self::rsa(&n, &e, only)
            }
            Some("EC") => {
                let point = bytes("x")
                    .zip(bytes("y"))
                    .ok_or("`x` or `y` is not base64url")?;
                Self::elliptic(jwk.get("crv").and_then(Value::as_str), point)
            }
            Some("OKP") => {
                let point = bytes("x").ok_or("`x` is not base64url")?;
                if jwk.get("crv").and_then(Value::as_str) != Some("Ed25519") {
                    return Err("`crv` is not supported");
                }
                Self::point(Algorithm::EdDsa, &ED25519, &point)
            }
            Some("oct") => {
                let secret = bytes("k").ok_or("`k` is not base64url")?;
                Self::secret(&secret, only)
            }
            _ => Err("`kty` is not supported"),
        }
    }

    fn rsa(n: &[u8], e: &[u8], only: Option<Algorithm>) -> Result<Self, &'static str> {
        let [n, e] = [n, e].map(without_leading_zeros);
        if !(256..=1024).contains(&n.len()) {
            // RFC 7518, section 3.3.
            return Err("an RSA key must have 2048 to 8192 bits");
        }
        if matches!(e, [] | [1]) || e.last().is_some_and(|byte| byte % 2 == 0) {
            // RFC 8017, section 3.1. With exponent 1, a signature would be the padded digest itself, which
            // anyone can create.
            return Err("an RSA exponent must be odd and greater than 1");
        }
        let components = RsaPublicKeyComponents { n, e };
        let mut keys = Vec::new();
        for algorithm in Algorithm::ALL {
            if let Some(parameters) = algorithm.rsa()
                && only.is_none_or(|only| only == algorithm)
            {
                let key = components.to_parsed_public_key(parameters);
                keys.push((
                    algorithm,
                    key.map_err(|_| "`n` and `e` are not an RSA key")?,
                ));
            }
        }
        if keys.is_empty() {
            return Err("`alg` does not fit `kty`");
        }
        Ok(Self::Rsa(keys))
    }

    fn elliptic(curve: Option<&str>, (x, y): (Vec<u8>, Vec<u8>)) -> Result<Self, &'static str> {
        let (algorithm, verification, size): (_, &'static dyn VerificationAlgorithm, usize) =
            match curve {
                Some("P-256") => (Algorithm::Es256, &ECDSA_P256_SHA256_FIXED, 32),
                Some("P-384") => (Algorithm::Es384, &ECDSA_P384_SHA384_FIXED, 48),
                Some("P-521") => (Algorithm::Es512, &ECDSA_P521_SHA512_FIXED, 66),
                _ => return Err("`crv` is not supported"),
            };
        let mut point = vec![4]; // An uncompressed point (SEC 1, section 2.3.3).
        for coordinate in [&x, &y] {
            let digits = without_leading_zeros(coordinate);
            let padding = size
                .checked_sub(digits.len())
                .ok_or("a coordinate is too long")?;
            point.resize(point.len() + padding, 0);
            point.extend_from_slice(digits);
        }
        Self::point(algorithm, verification, &point)
    }

    fn point(
        algorithm: Algorithm,
        verification: &'static dyn VerificationAlgorithm,
        point: &[u8],
    ) -> Result<Self, &'static str> {
        let key = ParsedPublicKey::new(verification, point);
        Ok(Self::Point(
            algorithm,
            key.map_err(|_| "the point is not on the curve")?,
        ))
    }

    fn secret(secret: &[u8], only: Option<Algorithm>) -> Result<Self, &'static str> {
        let mut keys = Vec::new();
        for algorithm in Algorithm::ALL {
            if let Some(hash) = algorithm.hmac()
                && only.is_none_or(|only| only == algorithm)
                // RFC 7518, section 3.2: the secret must be at least as long as the hash.
                && secret.len() >= hash.digest_algorithm().output_len()
            {
                keys.push((algorithm, hmac::Key::new(hash, secret)));
            }
        }
        if keys.is_empty() {
            return Err("the secret is too short, or `alg` does not fit `kty`");
        }
        Ok(Self::Secret(keys))
    }

    fn serves(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Rsa(keys) => keys.iter().any(|(own, _)| *own == algorithm),
            Self::Point(own, _) => *own == algorithm,
            Self::Secret(keys) => keys.iter().any(|(own, _)| *own == algorithm),
        }
    }

    fn verifies(&self, token: &UnverifiedToken<'_>) -> bool {
        let (signed, signature) = (token.signed.as_bytes(), &token.signature);
        let public = |key: &ParsedPublicKey| key.verify_sig(signed, signature).is_ok();
        match self {
            Self::Rsa(keys) => of(keys, token.algorithm).is_some_and(public),
            Self::Point(own, key) => *own == token.algorithm && public(key),
            Self::Secret(keys) => of(keys, token.algorithm)
                .is_some_and(|key| hmac::verify(key, signed, signature).is_ok()),
        }
    }
}

fn of<K>(keys: &[(Algorithm, K)], algorithm: Algorithm) -> Option<&K> {
    let mut keys = keys.iter();
    keys.find(|(own, _)| *own == algorithm).map(|(_, key)| key)
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
