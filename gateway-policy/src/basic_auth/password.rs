//! Password hashes of `.htpasswd` files, in the formats of Apache's `htpasswd`.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use data_encoding::BASE64;
use md5::{Digest, Md5};

/// The largest cost of a bcrypt hash that is accepted: 2^14 rounds take about a second.
const MAX_BCRYPT_COST: u32 = 14;

/// The hash of a password.
#[derive(Clone, Debug)]
pub(super) enum PasswordHash {
    /// `{SHA}`: base64 of the SHA-1. The only format that Envoy Gateway accepts.
    Sha1([u8; 20]),
    /// `$2y$`: bcrypt.
    Bcrypt(String),
    /// `$apr1$`: a thousand rounds of MD5 with a salt.
    Apr1 { salt: String, hash: String },
}

impl PasswordHash {
    /// Reads the hash of a line.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(encoded) = text.strip_prefix("{SHA}") {
            let bytes = BASE64.decode(encoded.as_bytes()).ok();
            let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
            return bytes
                .map(Self::Sha1)
                .ok_or("the {SHA} hash is not base64 of 20 bytes");
        }
        if let Some(rest) = text.strip_prefix("$apr1$") {
            let parts = rest
                .split_once('$')
                .filter(|(salt, hash)| !salt.is_empty() && hash.len() == 22);
            let (salt, hash) =
                parts.ok_or("the $apr1$ hash lacks its salt or has a wrong length")?;
            let salt = salt
                .get(..salt.len().min(8))
                .ok_or("the salt of the $apr1$ hash is not ASCII")?;
            return Ok(Self::Apr1 {
                salt: salt.to_owned(),
                hash: hash.to_owned(),
            });
        }
        if ["$2a$", "$2b$", "$2y$"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            let parts: bcrypt::HashParts =
                text.parse().map_err(|_| "the bcrypt hash is malformed")?;
            return if parts.get_cost() <= MAX_BCRYPT_COST {
                Ok(Self::Bcrypt(text.to_owned()))
            } else {
                Err("the cost of the bcrypt hash is greater than 14")
            };
        }
        Err("unsupported hash format; use {SHA}, bcrypt ($2a$, $2b$, $2y$) or $apr1$")
    }

    /// Whether a verification is too slow for a worker thread.
    pub(super) fn is_slow(&self) -> bool {
        !matches!(self, Self::Sha1(_))
    }

    /// Relative cost of a verification.
    pub(super) fn cost(&self) -> u32 {
        match self {
            Self::Sha1(_) => 0,
            Self::Apr1 { .. } => 1,
            Self::Bcrypt(hash) => {
                let parts: Result<bcrypt::HashParts, _> = hash.parse();
                parts.map_or(2, |parts| 2 + parts.get_cost())
            }
        }
    }

    /// Whether `password` has this hash. Compares in constant time.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Sha1(hash) => {
                let actual = digest(&SHA1_FOR_LEGACY_USE_ONLY, password);
                verify_slices_are_equal(actual.as_ref(), hash).is_ok()
            }
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Apr1 { salt, hash } => {
                let actual = apr1(password, salt.as_bytes());
                verify_slices_are_equal(actual.as_bytes(), hash.as_bytes()).is_ok()
            }
        }
    }
}

/// Computes Apache's variant of the MD5 crypt of FreeBSD. Returns the 22 characters that follow the salt in a
/// line.
fn apr1(password: &[u8], salt: &[u8]) -> String {
    let alternate = Md5::new()
        .chain_update(password)
        .chain_update(salt)
        .chain_update(password);
    let alternate = alternate.finalize();
    let mut first = Md5::new()
        .chain_update(password)
        .chain_update("$apr1$")
        .chain_update(salt);
    for chunk in password.chunks(16) {
        first.update(&alternate[..chunk.len()]);
    }
    let mut bits = password.len();
    while bits > 0 {
        if bits & 1 == 1 {
            first.update([0]);
        } else {
            first.update(&password[..1]);
        }
        bits >>= 1;
    }
    let mut hash = first.finalize();
    for round in 0..1000 {
        let mut next = Md5::new();
        if round & 1 == 1 {
            next.update(password);
        } else {
            next.update(hash);
        }
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        if round & 1 == 1 {
            next.update(hash);
        } else {
            next.update(password);
        }
        hash = next.finalize();
    }
    const GROUPS: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let mut text = String::with_capacity(22);
    for group in GROUPS {
        let [high, middle, low] = group.map(|index| u32::from(hash[index]));
        push_base64(&mut text, high << 16 | middle << 8 | low, 4);
    }
    push_base64(&mut text, u32::from(hash[11]), 2);
    text
}

/// Appends `count` characters of six bits each, the lowest bits first.
fn push_base64(text: &mut String, mut bits: u32, count: usize) {
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for _ in 0..count {
        text.push(char::from(ALPHABET[(bits & 63) as usize]));
        bits >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The hashes are the output of `htpasswd -nbs` and `openssl passwd -apr1 -salt` for these passwords.
    #[test]
    fn hashes_of_htpasswd_and_openssl_verify() {
        for (hash, password) in [
            ("{SHA}nU4eI71bcnBGqeO0t9tXvY1u5oQ=", "pass"),
            ("{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=", ""),
        ] {
            let hash = PasswordHash::parse(hash).unwrap();
            assert!(hash.verify(password.as_bytes()));
            assert!(!hash.verify(b"other"));
            assert!(!hash.is_slow());
        }
    }

    #[test]
    fn bcrypt_verifies_its_own_hashes() {
        let hash = bcrypt::hash_with_salt("pass", 4, [7; 16])
            .unwrap()
            .to_string();
        let hash = PasswordHash::parse(&hash).unwrap();

        assert!(hash.is_slow());
        assert!(hash.verify(b"pass"));
        assert!(!hash.verify(b"Pass"));
    }

    #[test]
    fn apr1_agrees_with_openssl() {
        for password in [
            "pass",
            "x",
            "a password that is longer than sixteen bytes",
            "zoë",
        ] {
            let output = Command::new("openssl")
                .args(["passwd", "-apr1", "-salt", "abcdefgh", password])
                .output()
                .expect("openssl is installed");
            let text = String::from_utf8(output.stdout).unwrap();

            let hash = PasswordHash::parse(text.trim()).unwrap();

            assert!(hash.verify(password.as_bytes()), "{text}");
            assert!(!hash.verify(b"other"));
        }
    }

    #[test]
    fn unknown_and_malformed_hashes_are_refused() {
        for text in [
            "",
            "pass",
            "{SHA}",
            "{SHA}AAAA",
            "{SSHA}nU4eI71bcnBGqeO0t9tXvY1u5oQ=",
            "$apr1$x$short",
            "$apr1$$abcdefghijklmnopqrstuv",
            "$2y$",
            "$2y$31$abcdefghijklmnopqrstuuAbcdefghijklmnopqrstuvwxyz01234",
            "$6$salt$hash",
            "$1$salt$hash",
        ] {
            assert!(PasswordHash::parse(text).is_err(), "{text}");
        }
    }
}
