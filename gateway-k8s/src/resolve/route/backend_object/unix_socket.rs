//! Endpoints of a Backend that are Unix domain sockets of the data plane's machine.
//!
//! A socket is used only if its path lies in a folder that the operator names: otherwise a user who may create Backends
//! could have the gateway send requests to any service of the machine, such as a container runtime.

use std::path::{Component, Path};

use towergate_core::plan::{Endpoint, EndpointAddress};

use super::super::backend_error::{BackendError, fault, invalid};
use crate::resolve::object_index::ObjectIndex;
use crate::status::RouteReason;

/// The endpoint with the socket `path`; `field` is its place in the spec.
pub(super) fn unix_endpoint(
    index: &ObjectIndex<'_>,
    field: &str,
    path: &str,
) -> Result<Endpoint, BackendError> {
    let folders = &index.options.backends.socket_folders;
    if folders.is_empty() {
        let message = format!(
            "{field}.unix: unix domain sockets are not supported in backend references, unless the operator permits \
             their folder with --backend-socket-folder"
        );
        return fault(RouteReason::UnsupportedAddressType, message);
    }
    if path.len() > EndpointAddress::MAX_PATH {
        let most = EndpointAddress::MAX_PATH;
        return invalid(format!("{field}.unix.path is longer than {most} bytes"));
    }
    if !is_plain(path) {
        return invalid(format!(
            "{field}.unix.path {path:?} is not an absolute path of letters, digits and `._-+@`, without `.` and `..`"
        ));
    }
    if !folders
        .iter()
        .any(|folder| Path::new(path).starts_with(folder))
    {
        let message = format!(
            "{field}.unix.path {path:?} is in no folder that the operator permits with --backend-socket-folder"
        );
        return fault(RouteReason::UnsupportedAddressType, message);
    }
    Ok(Endpoint {
        address: EndpointAddress::Unix(path.into()),
        weight: 1,
        zone: None,
    })
}

/// Whether a path is absolute, names a file, and has no character that needs escaping in a log.
fn is_plain(path: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@".contains(&byte);
    let mut parts = Path::new(path).components();
    parts.next() == Some(Component::RootDir)
        && path.bytes().all(allowed)
        && !path.ends_with('/')
        && parts.all(|part| matches!(part, Component::Normal(_)))
        && path
            .split('/')
            .skip(1)
            .all(|part| !part.is_empty() && part != ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_and_plain() {
        for (path, expected) in [
            ("/run/apps/web.sock", true),
            ("/a", true),
            ("", false),
            ("/", false),
            ("run/web.sock", false),
            ("/run/apps/", false),
            ("/run//web.sock", false),
            ("/run/./web.sock", false),
            ("/run/../web.sock", false),
            ("/run/a b.sock", false),
            ("/run/a\".sock", false),
            ("/run/a;b", false),
            ("@abstract", false),
        ] {
            assert_eq!(is_plain(path), expected, "{path}");
        }
    }
}
