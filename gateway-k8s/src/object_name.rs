//! Syntax of the names of objects (RFC 1123).

/// Whether `name` is an RFC 1123 label.
pub(crate) fn is_label(name: &str) -> bool {
    name.len() <= 63 && is_part(name)
}

/// Whether `name` is an RFC 1123 subdomain. Kubernetes limits the length of the name, not of each label.
pub(crate) fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_part)
}

fn is_part(part: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
}
