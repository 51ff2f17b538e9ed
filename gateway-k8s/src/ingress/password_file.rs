//! The users of `auth-secret`, as nginx reads them.
//!
//! nginx reads a password file line by line: the first line of a user applies, a second `:` ends the hash,
//! and an unknown hash rejects only its own user. The gateway rejects a file with a line that it cannot read,
//! so the translation writes the readable lines only.

use std::collections::BTreeSet;
use std::fmt::Write;

use towergate_policy::basic_auth::Users;

use super::input::SecretData;

/// The users of a Secret.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct PasswordFile {
    /// Lines `user:hash` with hashes that the gateway verifies.
    pub(crate) lines: String,
    /// Users whose hash the gateway cannot verify.
    pub(crate) unreadable: BTreeSet<String>,
}

impl PasswordFile {
    /// Reads the users of `secret`. `by_user`: the Secret has a key for each user (`auth-map`).
    pub(crate) fn of(secret: &SecretData, by_user: bool) -> Self {
        let text = match by_user {
            true => {
                let users = secret.values.iter();
                let lines =
                    users.map(|(user, hash)| format!("{user}:{}\n", String::from_utf8_lossy(hash)));
                lines.collect()
            }
            false => {
                let file = secret.values.get("auth").map(Vec::as_slice);
                String::from_utf8_lossy(file.unwrap_or_default()).into_owned()
            }
        };
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let mut file = Self::default();
        let mut known = BTreeSet::new();
        for line in text.split(['\n', '\r']) {
            let Some((user, rest)) = line.split_once(':').filter(|_| !line.starts_with('#')) else {
                continue;
            };
            if user.is_empty() || !known.insert(user) {
                continue;
            }
            let hash = rest.split(':').next().unwrap_or_default();
            let user_line = format!("{user}:{hash}");
            // The gateway ignores spaces around a line. In nginx, these spaces belong to the user or the
            // hash.
            let is_readable = user_line.trim() == user_line && Users::parse(&user_line).is_ok();
            if is_readable {
                let _ = writeln!(file.lines, "{user_line}");
            } else {
                file.unreadable.insert(user.to_owned());
            }
        }
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "{SHA}nU4eI71bcnBGqeO0t9tXvY1u5oQ=";

    #[test]
    fn a_line_that_the_gateway_cannot_read_keeps_only_its_user_out() {
        let text = format!(
            "# people\nada:{HASH}:comment\nbob:$6$x$y\nada:$1$second\nnobody\n eve:{HASH}\neve:{HASH}\r\n"
        );

        let file = PasswordFile::parse(&text);

        assert_eq!(file.lines, format!("ada:{HASH}\neve:{HASH}\n"));
        let unreadable: Vec<&str> = file.unreadable.iter().map(String::as_str).collect();
        assert_eq!(unreadable, [" eve", "bob"]);
        assert!(Users::parse(&file.lines).is_ok());
    }
}
