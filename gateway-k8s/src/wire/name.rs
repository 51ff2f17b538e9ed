//! Names of planes, and how certificates name them.
//!
//! A plane is what a data plane serves: a Gateway (`NAMESPACE/NAME`), or [`SHARED`], all of them. The
//! certificate of a data plane names its plane in a URI, and it is served that plan and no other.

/// The plane of all Gateways together.
pub const SHARED: &str = "shared";

/// The DNS name in a controller's certificate. Data planes expect it, whatever address they connect to:
/// the authority that signs it signs for nobody else.
pub const CONTROLLER_NAME: &str = "controller.towergate.internal";

const SCHEME: &str = "towergate://plane/";

/// The URI that stands for a plane in a certificate; `None`: no plane is called so.
pub fn plane_uri(plane: &str) -> Option<String> {
    is_plane(plane).then(|| format!("{SCHEME}{plane}"))
}

/// The plane that a URI of a certificate stands for.
pub fn plane_of_uri(uri: &str) -> Option<&str> {
    uri.strip_prefix(SCHEME).filter(|plane| is_plane(plane))
}

/// [`SHARED`], or a namespace and a name as Kubernetes has them (RFC 1123).
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
