//! Names of planes, and their URIs in certificates.
//!
//! A plane is the set of Gateways that a data plane serves: one Gateway (`NAMESPACE/NAME`), or all of them
//! ([`SHARED`]). The certificate of a data plane contains the name of its plane in a URI. The controller
//! sends the data plane only the plan of this plane.

/// The plane of all Gateways.
pub const SHARED: &str = "shared";

/// The DNS name in a controller's certificate. Data planes verify it instead of the address to
/// which they connect: the CA signs no other certificates with that name.
pub const CONTROLLER_NAME: &str = "controller.towergate.internal";

const SCHEME: &str = "towergate://plane/";

/// The URI of a plane in a certificate. `None`: `plane` is not a valid name.
pub fn plane_uri(plane: &str) -> Option<String> {
    is_plane(plane).then(|| format!("{SCHEME}{plane}"))
}

/// The plane of a URI in a certificate.
pub fn plane_of_uri(uri: &str) -> Option<&str> {
    uri.strip_prefix(SCHEME).filter(|plane| is_plane(plane))
}

/// Whether `plane` is [`SHARED`], or a namespace and a name (RFC 1123).
fn is_plane(plane: &str) -> bool {
    let part = |part: &str| {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        !part.is_empty() && part.len() <= 253 && part.chars().all(good)
    };
    match plane.split_once('/') {
        Some((namespace, name)) => part(namespace) && part(name),
        None => plane == SHARED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_has_one_uri_and_nothing_else_has_one() {
        for (plane, uri) in [
            ("shared", Some("towergate://plane/shared")),
            ("edge/public", Some("towergate://plane/edge/public")),
            ("edge/a.b-1", Some("towergate://plane/edge/a.b-1")),
            ("", None),
            ("edge", None),
            ("edge/", None),
            ("/public", None),
            ("a/b/c", None),
            ("edge/Public", None),
            ("edge/a b", None),
        ] {
            assert_eq!(plane_uri(plane).as_deref(), uri, "{plane}");
            assert_eq!(uri.and_then(plane_of_uri), uri.map(|_| plane));
        }
        assert_eq!(plane_of_uri("towergate://plane/a/b/c"), None);
        assert_eq!(plane_of_uri("https://plane/shared"), None);
    }
}
