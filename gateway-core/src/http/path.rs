//! Path normalisation. Matching, authorization and forwarding use the same, normalised bytes.
//!
//! [`normalize`] processes the path and query of a request target, in Envoy's order:
//!
//! 1. `%2F` and `%5C` are handled by [`EscapedSlashes`];
//! 2. escapes of unreserved characters are decoded, characters that are invalid in a path are encoded, `\`
//!    becomes `/`, invalid escapes are kept, `%00` is rejected;
//! 3. `.` and `..` segments are resolved (RFC 3986, section 5.2.4);
//! 4. consecutive slashes are merged. A path that consists of slashes only becomes `//`, as in Envoy.
//!
//! The query is unchanged. Normalisation is idempotent. Two rules are stricter than those of Envoy:
//!
//! - An escaped hex digit directly after an invalid escape is not decoded. Envoy decodes `%%34%31` to `%41`,
//!   which a second decoder would decode again.
//! - A redirect to a path that begins with `//` and a name has the prefix `/.`, because `Location:
//!   //evil.example` refers to another host. Such a path requires `merge_slashes: false`.
//!
//! A path that needs no change, the common case, is detected in one pass without allocation.
//!
//! ```
//! use towergate_core::http::path::{Normalized, normalize};
//! use towergate_core::plan::PathSettings;
//!
//! let settings = PathSettings::default();
//! assert_eq!(normalize("/a/b?x=//y", &settings), Ok(Normalized::Unchanged));
//! assert_eq!(normalize("/a//b/../c", &settings), Ok(Normalized::Changed("/a/c".to_owned())));
//! assert_eq!(normalize("/a%2fb?x", &settings), Ok(Normalized::Redirect("/a/b?x".to_owned())));
//! assert!(normalize("/%00", &settings).is_err());
//! ```

pub use self::compared::ComparedPath;
pub(crate) use self::compared::encode;
use crate::http::settings::{EscapedSlashes, PathSettings};

mod compared;

/// Result of the normalisation of a path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Normalized {
    /// The path is already normalised.
    Unchanged,
    /// The normalised path, with the unchanged query.
    Changed(String),
    /// The path had escaped slashes, and the client is redirected (307) to this relative reference.
    Redirect(String),
}

/// Error: the path cannot be normalised. It has an escaped NUL, a fragment, an escaped slash that the
/// settings reject, or bytes that are invalid in a request target.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the path cannot be normalised")]
pub struct BadPath;

/// Normalises the path of `target`, which consists of a path and an optional query.
///
/// # Errors
/// [`BadPath`] if the target does not begin with `/`, has a fragment, `%00` or a byte other than visible
/// ASCII, or has an escaped slash and the settings reject it.
pub fn normalize(target: &str, settings: &PathSettings) -> Result<Normalized, BadPath> {
    if !target.starts_with('/') || target.bytes().any(|b| !is_target_byte(b)) {
        return Err(BadPath);
    }
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    if is_normal(path.as_bytes(), settings) {
        return Ok(Normalized::Unchanged);
    }

    let (path, unescaped) = unescape_slashes(path, settings.escaped_slashes)?;
    let mut out = resolve_dots(&recode(path.as_bytes())?);
    if settings.merge_slashes {
        merge_slashes(&mut out);
    }
    if unescaped && settings.escaped_slashes == EscapedSlashes::UnescapeAndRedirect {
        return Ok(Normalized::Redirect(relative(out, query)));
    }
    out.push_str(query);
    Ok(if out == target {
        Normalized::Unchanged
    } else {
        Normalized::Changed(out)
    })
}

/// Whether `byte` is valid in a request target: visible ASCII other than `#`.
fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'#'
}

/// Whether `byte` is unreserved (RFC 3986, section 2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether `byte` is percent-encoded in paths.
fn is_encoded(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}')
}

/// Fast check. `true`: the path is normalised. `false`: a full normalisation is required, because the path is
/// possibly not normalised.
fn is_normal(path: &[u8], settings: &PathSettings) -> bool {
    let mut before = 0;
    path.iter().all(|&byte| {
        let after_slash = before == b'/';
        before = byte;
        match byte {
            b'%' | b'\\' => false,
            b'/' => !(after_slash && settings.merge_slashes),
            b'.' => !after_slash,
            _ => !is_encoded(byte),
        }
    })
}

/// Decodes `%2F` and `%5C`, unless the settings keep them. Also returns whether the path contained one of
/// these escapes.
fn unescape_slashes(path: &str, action: EscapedSlashes) -> Result<(String, bool), BadPath> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    if action != EscapedSlashes::KeepUnchanged {
        while let Some(at) = rest.find('%') {
            let (slash, skip) = match rest.as_bytes()[at + 1..] {
                [b'2', b'f' | b'F', ..] => ("/", 3),
                [b'5', b'c' | b'C', ..] => ("\\", 3),
                _ => ("%", 1),
            };
            out.push_str(&rest[..at]);
            out.push_str(slash);
            rest = &rest[at + skip..];
        }
    }
    out.push_str(rest);
    let found = out.len() != path.len();
    if found && action == EscapedSlashes::RejectRequest {
        return Err(BadPath);
    }
    Ok((out, found))
}

/// Decodes the escapes of unreserved characters, encodes invalid characters, and replaces `\` by `/`.
fn recode(path: &[u8]) -> Result<String, BadPath> {
    let mut out = String::with_capacity(path.len());
    // Number of bytes since the last `%` that begins no escape. If one of the next two bytes were decoded to
    // a hex digit, the `%` could begin an escape.
    let mut since_broken = 2;
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        at += 1;
        since_broken += 1;
        match byte {
            b'\\' => out.push('/'),
            b'%' => match escaped(&path[at..]) {
                None => {
                    out.push('%');
                    since_broken = 0;
                }
                Some(0) => return Err(BadPath),
                Some(plain)
                    if is_unreserved(plain)
                        && !(since_broken <= 2 && plain.is_ascii_hexdigit()) =>
                {
                    out.push(char::from(plain));
                    at += 2;
                }
                Some(_) => {
                    out.push('%');
                    out.extend(path[at..at + 2].iter().map(|&digit| char::from(digit)));
                    at += 2;
                    since_broken = 2;
                }
            },
            _ if is_encoded(byte) => {
                push_escape(&mut out, byte);
                since_broken = 2;
            }
            _ => out.push(char::from(byte)),
        }
    }
    Ok(out)
}

/// The byte encoded by the two hex digits at the start of `digits`.
fn escaped(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

fn push_escape(out: &mut String, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(HEX[usize::from(byte >> 4)]));
    out.push(char::from(HEX[usize::from(byte & 15)]));
}

/// Resolves `.` and `..` segments. An empty segment counts as a segment.
fn resolve_dots(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            _ => {
                out.push('/');
                out.push_str(segment);
                continue;
            }
        }
        if last {
            out.push('/');
        }
    }
    out
}

/// Merges consecutive slashes. A path that consists of slashes only becomes `//`.
fn merge_slashes(path: &mut String) {
    if path.len() > 1 && path.bytes().all(|b| b == b'/') {
        path.truncate(2);
        return;
    }
    let mut after_slash = false;
    path.retain(|c| {
        let keep = !(after_slash && c == '/');
        after_slash = c == '/';
        keep
    });
}

/// Relative reference to `path` on the same host. If the reference began with `//`, it would refer to another
/// host.
fn relative(path: String, query: &str) -> String {
    let guard = if path.starts_with("//") && path != "//" {
        "/."
    } else {
        ""
    };
    [guard, &path, query].concat()
}

#[cfg(test)]
mod tests;
