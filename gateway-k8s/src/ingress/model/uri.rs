//! Normalisation and rewriting of paths, as in nginx.

/// Splits a target into the authority, if it has absolute form, and the path and query.
pub(super) fn split_target(target: &str) -> (Option<&str>, &str) {
    let rest = target
        .strip_prefix("http://")
        .or(target.strip_prefix("https://"));
    let Some(rest) = rest else {
        return (None, target);
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    (
        Some(authority),
        if target.is_empty() { "/" } else { target },
    )
}

/// The decoded path with merged slashes and resolved dot segments. `None`: nginx returns 400.
pub(crate) fn normalise(path: &str) -> Option<String> {
    let path = path.split('#').next().unwrap_or_default();
    if !path.starts_with('/') {
        return None;
    }
    let decoded = decode(path)?;
    let mut segments: Vec<&str> = Vec::new();
    let mut directory = false;
    for segment in decoded.split('/').skip(1) {
        directory = false;
        match segment {
            "" | "." => directory = true,
            ".." => {
                segments.pop()?;
                directory = true;
            }
            segment => segments.push(segment),
        }
    }
    let mut uri = String::new();
    for segment in &segments {
        uri.push('/');
        uri.push_str(segment);
    }
    if directory || uri.is_empty() {
        uri.push('/');
    }
    Some(uri)
}

fn decode(path: &str) -> Option<String> {
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        if bytes[index] == b'%' {
            let hex = path.get(index + 1..index + 3)?;
            let byte = u8::from_str_radix(hex, 16).ok().filter(|byte| *byte != 0)?;
            decoded.push(byte);
            index += 3;
        } else {
            decoded.push(bytes[index]);
            index += 1;
        }
    }
    Some(String::from_utf8_lossy(&decoded).into_owned())
}

/// The target of a rewritten request. `None`: the pattern does not match.
pub(super) fn rewrite(uri: &str, path: &str, target: &str, query: Option<&str>) -> Option<String> {
    let regex = regex::Regex::new(&format!("(?i){path}")).ok()?;
    let captures = regex.captures(uri)?;
    let mut rewritten = String::new();
    let mut rest = target.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek().and_then(|digit| digit.to_digit(10))) {
            ('$', Some(digit)) => {
                rest.next();
                let group = usize::try_from(digit)
                    .ok()
                    .and_then(|digit| captures.get(digit));
                rewritten.push_str(group.map_or("", |group| group.as_str()));
            }
            _ => rewritten.push(c),
        }
    }
    let mut encoded = encode(&rewritten);
    if let Some(query) = query {
        encoded.push('?');
        encoded.push_str(query);
    }
    Some(encoded)
}

/// Percent-encodes characters that are not allowed in a path.
fn encode(path: &str) -> String {
    let mut encoded = String::new();
    for byte in path.bytes() {
        match byte {
            0..=b' '
            | b'"'
            | b'#'
            | b'%'
            | b'?'
            | b'<'
            | b'>'
            | b'\\'
            | b'^'
            | b'`'
            | b'{'
            | b'|'
            | b'}'
            | 127.. => encoded.push_str(&format!("%{byte:02X}")),
            _ => encoded.push(char::from(byte)),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_and_resolved() {
        for (path, uri) in [
            ("/a//b/./c/../d", Some("/a/b/d")),
            ("/%61pi", Some("/api")),
            ("/a/..", Some("/")),
            ("/../x", None),
            ("/a%", None),
            ("/", Some("/")),
        ] {
            assert_eq!(normalise(path).as_deref(), uri, "{path}");
        }
    }

    #[test]
    fn a_rewrite_replaces_the_whole_path() {
        let rewritten = rewrite("/app/x y", "/app(/|$)(.*)", "/$2", Some("q=1"));

        assert_eq!(rewritten.as_deref(), Some("/x%20y?q=1"));
    }
}
