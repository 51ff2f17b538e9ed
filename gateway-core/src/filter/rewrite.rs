//! URL rewrites (Gateway API `HTTPURLRewriteFilter`).

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, request};
use serde::{Deserialize, Serialize};

use super::path::{encode, replace_prefix};
use super::{FilterError, PathEdit};
use crate::http::host::Authority;

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_ENVOY_ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");

/// Rewrite of host and path of a request to the backend.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Rewrite {
    /// `Host`. Default: unchanged.
    pub hostname: Option<String>,
    /// Path replacement. Default: unchanged.
    pub path: Option<PathEdit>,
}

impl Rewrite {
    /// Rewrites the head of a request. `authority` is the authority of the request, `matched_prefix` the
    /// prefix that the rule matched. The query is unchanged.
    ///
    /// If the host is rewritten, the original authority is appended to `X-Forwarded-Host`. If the path is
    /// rewritten and `envoy_headers` is set, `x-envoy-original-path` contains the original path and query.
    ///
    /// # Errors
    /// [`FilterError`] if the filter replaces a prefix that the rule did not match, or a configured value
    /// is not a valid host or path. On error the head may be partially rewritten.
    pub fn apply(
        &self,
        head: &mut request::Parts,
        authority: &Authority,
        matched_prefix: Option<&str>,
        envoy_headers: bool,
    ) -> Result<(), FilterError> {
        if let Some(edit) = &self.path {
            let new = rewritten(edit, &head.uri, matched_prefix)?;
            if envoy_headers {
                set_original_path(head)?;
            }
            head.uri = Uri::from(new);
        }
        if let Some(hostname) = &self.hostname {
            let host = HeaderValue::from_str(hostname).map_err(|_| FilterError::InvalidText)?;
            Authority::parse(&host).map_err(|_| FilterError::InvalidText)?;
            head.headers.insert(HOST, host);
            append_forwarded_host(&mut head.headers, authority);
        }
        Ok(())
    }
}

impl Rewrite {
    /// Copies from `other` the fields that are `None` in `self`.
    pub(crate) fn fill(&mut self, other: &Self) {
        if self.hostname.is_none() {
            self.hostname.clone_from(&other.hostname);
        }
        if self.path.is_none() {
            self.path.clone_from(&other.path);
        }
    }
}

/// Path of `uri` after `edit`, with the original query.
fn rewritten(
    edit: &PathEdit,
    uri: &Uri,
    matched_prefix: Option<&str>,
) -> Result<PathAndQuery, FilterError> {
    let mut path = match edit {
        PathEdit::Full(full) if full.starts_with('/') => encode(full).into_owned(),
        PathEdit::Full(full) => format!("/{}", encode(full)),
        PathEdit::Prefix(new) => matched_prefix
            .and_then(|prefix| replace_prefix(uri.path(), prefix, &encode(new)))
            .ok_or(FilterError::NoPrefix)?,
    };
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    if path.contains('#') {
        return Err(FilterError::InvalidText);
    }
    PathAndQuery::try_from(path).map_err(|_| FilterError::InvalidText)
}

/// Sets `x-envoy-original-path` to the path and query of the request.
pub(super) fn set_original_path(head: &mut request::Parts) -> Result<(), FilterError> {
    let old = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let old = HeaderValue::from_str(old).map_err(|_| FilterError::InvalidText)?;
    head.headers.insert(X_ENVOY_ORIGINAL_PATH, old);
    Ok(())
}

/// Joins the values of `X-Forwarded-Host` and the authority into one field line, as Envoy does.
pub(super) fn append_forwarded_host(headers: &mut HeaderMap, authority: &Authority) {
    if !headers.contains_key(X_FORWARDED_HOST) {
        headers.insert(X_FORWARDED_HOST, authority.as_header().clone());
        return;
    }
    let mut line = Vec::new();
    for value in headers.get_all(X_FORWARDED_HOST) {
        line.extend_from_slice(value.as_bytes());
        line.push(b',');
    }
    line.extend_from_slice(authority.as_header().as_bytes());
    let line = HeaderValue::from_bytes(&line).expect("valid values joined by commas are valid");
    headers.insert(X_FORWARDED_HOST, line);
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn prefix(new: &str) -> Rewrite {
        Rewrite {
            hostname: None,
            path: Some(PathEdit::Prefix(new.to_owned())),
        }
    }

    fn host(hostname: &str) -> Rewrite {
        Rewrite {
            hostname: Some(hostname.to_owned()),
            path: None,
        }
    }

    fn rewrite(
        rewrite: &Rewrite,
        request: Request<()>,
        matched: Option<&str>,
    ) -> Result<request::Parts, FilterError> {
        let mut head = request.into_parts().0;
        let authority = Authority::parse(&head.headers[HOST]).unwrap();
        rewrite.apply(&mut head, &authority, matched, false)?;
        Ok(head)
    }

    #[test]
    fn a_replacement_outside_ascii_is_percent_encoded() {
        assert_eq!(
            path_of(&prefix("/é"), "/a/x?q", "/a").unwrap(),
            "/%C3%A9/x?q"
        );
    }

    fn path_of(edit: &Rewrite, path: &str, matched: &str) -> Result<String, FilterError> {
        let request = Request::get(path).header(HOST, "w.test").body(()).unwrap();
        rewrite(edit, request, Some(matched)).map(|head| head.uri.to_string())
    }

    /// Expected results are recorded from Envoy, except those for the prefix `/`: see the module `path`.
    #[test]
    fn prefixes_are_replaced_as_envoy_replaces_them() {
        for (matched, new, path, expected) in [
            ("/p", "/q", "/p/", "/q/"),
            ("/p", "/q", "/p/x", "/q/x"),
            ("/ps/", "/q/", "/ps", "/q"),
            ("/ps/", "/q/", "/ps/", "/q/"),
            ("/pslash", "/q/", "/pslash/", "/q/"),
            ("/root", "/", "/root/", "/"),
            ("/root", "/", "/root/x", "/x"),
            ("/roots/", "/", "/roots/", "/"),
            ("/roots/", "/", "/roots/x", "/x"),
            ("/empty", "", "/empty/x", "/x"),
            ("/deep/one/two", "/x", "/deep/one/two/three", "/x/three"),
            ("/dot.ted", "/", "/dot.ted/x", "/x"),
            ("/", "/app", "/x", "/app/x"),
            ("/", "/app", "/x?q", "/app/x?q"),
            ("/", "/app", "/a%20b", "/app/a%20b"),
        ] {
            assert_eq!(
                path_of(&prefix(new), path, matched).as_deref(),
                Ok(expected),
                "{path}"
            );
        }
    }

    /// Expected results are recorded from Envoy.
    #[test]
    fn a_whole_path_keeps_the_query() {
        let full = |text: &str| Rewrite {
            hostname: None,
            path: Some(PathEdit::Full(text.to_owned())),
        };

        assert_eq!(
            path_of(&full("/fixed"), "/full?q=1", "/full").as_deref(),
            Ok("/fixed?q=1")
        );
        let twice = path_of(&full("/fixed?added=1"), "/fullq?q=1", "/fullq");
        assert_eq!(twice.as_deref(), Ok("/fixed?added=1?q=1"));
        assert_eq!(path_of(&full(""), "/x", "/").as_deref(), Ok("/"));
    }

    /// Expected results are recorded from Envoy.
    #[test]
    fn the_old_host_is_appended_to_x_forwarded_host() {
        for (sent, expected) in [
            (vec![], "w.test:81"),
            (vec!["mine"], "mine,w.test:81"),
            (vec!["a", "b"], "a,b,w.test:81"),
        ] {
            let mut request = Request::get("/host/x").header(HOST, "w.test:81");
            for value in sent {
                request = request.header(X_FORWARDED_HOST, value);
            }

            let head =
                rewrite(&host("inner.example.org"), request.body(()).unwrap(), None).unwrap();

            assert_eq!(head.headers[HOST], "inner.example.org");
            assert_eq!(head.headers[X_FORWARDED_HOST], expected);
            assert_eq!(head.headers.len(), 2);
            assert_eq!(head.uri, "/host/x");
        }
    }

    #[test]
    fn the_old_path_is_told_only_with_envoys_headers() {
        for (envoy_headers, expected) in [(true, Some("/p/x?q")), (false, None)] {
            let request = Request::get("/p/x?q")
                .header(HOST, "w.test")
                .body(())
                .unwrap();
            let mut head = request.into_parts().0;
            let authority = Authority::parse(&head.headers[HOST]).unwrap();

            prefix("/q")
                .apply(&mut head, &authority, Some("/p"), envoy_headers)
                .unwrap();

            let told = head.headers.get(X_ENVOY_ORIGINAL_PATH);
            assert_eq!(told.map(|v| v.to_str().unwrap()), expected);
            assert!(!head.headers.contains_key(X_FORWARDED_HOST));
        }
    }

    #[test]
    fn what_makes_no_request_is_refused() {
        let request = || Request::get("/p").header(HOST, "w.test").body(()).unwrap();

        for hostname in ["", "a b", "u@a", "a.test\r\nx: y"] {
            let refused = rewrite(&host(hostname), request(), None);
            assert_eq!(refused.unwrap_err(), FilterError::InvalidText, "{hostname}");
        }
        assert_eq!(
            rewrite(&prefix("/q"), request(), None).unwrap_err(),
            FilterError::NoPrefix
        );
        assert_eq!(
            path_of(&prefix("/q"), "/px", "/p"),
            Err(FilterError::NoPrefix)
        );
        assert_eq!(
            path_of(&prefix("/a b"), "/p", "/p"),
            Err(FilterError::InvalidText)
        );
        assert_eq!(
            path_of(&prefix("/a#b"), "/p", "/p"),
            Err(FilterError::InvalidText)
        );
    }
}
