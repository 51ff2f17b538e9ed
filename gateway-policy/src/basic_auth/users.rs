//! The users of an `.htpasswd` file.

use std::collections::HashMap;

use super::password::PasswordHash;

/// The largest file that is read, in bytes.
const MAX_LENGTH: usize = 1024 * 1024;

/// The users of an `.htpasswd` file, each with the hash of a password.
#[derive(Clone, Debug, Default)]
pub struct Users {
    hashes: HashMap<Box<[u8]>, PasswordHash>,
}

/// The reason why an `.htpasswd` file cannot be used. The messages contain no part of a hash.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UsersError {
    /// The file is too long.
    #[error("the file is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// A line is not `user:hash`.
    #[error("line {0} is not `user:hash`")]
    NotAUser(usize),
    /// A line has a hash that cannot be verified.
    #[error("line {line}: {reason}")]
    BadHash {
        /// The line, from 1.
        line: usize,
        /// The reason why the hash cannot be verified.
        reason: &'static str,
    },
    /// A name occurs twice.
    #[error("line {0}: the user occurs twice")]
    Duplicate(usize),
}

impl Users {
    /// Reads a file with one `user:hash` per line. Empty lines and lines that begin with `#` are comments.
    ///
    /// # Errors
    /// The first line that cannot be used. The whole file is then rejected.
    pub fn parse(text: &str) -> Result<Self, UsersError> {
        if text.len() > MAX_LENGTH {
            return Err(UsersError::TooLong);
        }
        let mut hashes = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let (number, line) = (index + 1, line.trim());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let user = line.split_once(':').filter(|(name, _)| !name.is_empty());
            let (name, hash) = user.ok_or(UsersError::NotAUser(number))?;
            let hash = PasswordHash::parse(hash).map_err(|reason| UsersError::BadHash {
                line: number,
                reason,
            })?;
            if hashes.insert(name.as_bytes().into(), hash).is_some() {
                return Err(UsersError::Duplicate(number));
            }
        }
        Ok(Self { hashes })
    }

    /// Whether verifying one of the passwords takes milliseconds.
    pub(super) fn has_slow_hashes(&self) -> bool {
        self.hashes.values().any(PasswordHash::is_slow)
    }

    /// The hash that takes longest to verify; `None` if there are no users.
    pub(super) fn slowest(&self) -> Option<&PasswordHash> {
        self.hashes.values().max_by_key(|hash| hash.cost())
    }

    /// The hash of a user's password.
    pub(super) fn hash(&self, name: &[u8]) -> Option<&PasswordHash> {
        self.hashes.get(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "{SHA}nU4eI71bcnBGqeO0t9tXvY1u5oQ=";

    #[test]
    fn lines_end_as_on_unix_or_windows() {
        let users = Users::parse(&format!("# people\nada:{HASH}\r\n\r\nbob:{HASH}")).unwrap();

        assert!(users.hash(b"ada").is_some_and(|hash| hash.verify(b"pass")));
        assert!(users.hash(b"bob").is_some());
        assert!(users.hash(b"Ada").is_none());
    }

    #[test]
    fn one_bad_line_refuses_the_file() {
        for (text, expected) in [
            (format!("ada:{HASH}\nbob"), UsersError::NotAUser(2)),
            (format!(":{HASH}"), UsersError::NotAUser(1)),
            (format!("ada:{HASH}\nada:{HASH}"), UsersError::Duplicate(2)),
        ] {
            assert_eq!(Users::parse(&text).unwrap_err(), expected);
        }
        let error = Users::parse("ada:plain").unwrap_err();
        assert!(matches!(error, UsersError::BadHash { line: 1, .. }));
        assert!(!error.to_string().contains("plain"));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,200}") {
            let _ = Users::parse(&text);
        }
    }
}
