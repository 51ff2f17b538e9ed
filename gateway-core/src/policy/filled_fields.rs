//! Header fields whose values are set by policies. This module removes forged values, so that a backend can
//! trust these fields.
//!
//! A client can forge such a field in three places:
//!
//! - in the head;
//! - in the head, with `_` instead of `-` in the name, if the listener allows it: CGI and WSGI do not
//!   distinguish the two;
//! - in trailers, which a backend may merge into the head.
//!
//! [`FilledFields::reserve`] removes the field from the head and stores its name. The field is removed from
//! trailers when they arrive. Outside a gateway, [`PolicyLayer`](super::PolicyLayer) removes the field from
//! trailers, but [`HeadPolicyLayer`](super::HeadPolicyLayer) does not, because it does not process bodies.

use http::{HeaderMap, HeaderName, HeaderValue, request};
use http_body::Body as _;

use crate::Body;
use crate::trailers_body::TrailersBody;

/// Names of the fields that policies have set in a request. They are stored in the extensions of the request
/// head.
#[derive(Clone, Debug, Default)]
pub struct FilledFields(Vec<HeaderName>);

impl FilledFields {
    /// Removes the field `name` of the client from the head, and later from trailers. A policy must call this
    /// before it sets the field, and also if it decides not to set the field.
    pub fn reserve(head: &mut request::Parts, name: &HeaderName) {
        head.headers.remove(name);
        let filled = head.extensions.get_or_insert_default::<Self>();
        if has_variants(name) {
            let variants = head.headers.keys();
            let variants = variants.filter(|own| is_variant(own, name) && !filled.0.contains(own));
            for variant in variants.cloned().collect::<Vec<_>>() {
                head.headers.remove(variant);
            }
        }
        if !filled.0.contains(name) {
            filled.0.push(name.clone());
        }
    }

    /// Whether a backend may treat the names of two header fields as equal: `_` and `-` are equal.
    pub fn are_variants(left: &HeaderName, right: &HeaderName) -> bool {
        is_variant(left, right)
    }

    /// Sets a field. If `overwrite` is set, the value replaces the client's value. Otherwise, if the client
    /// has sent the field, its value is kept.
    pub fn set(head: &mut request::Parts, name: &HeaderName, value: &HeaderValue, overwrite: bool) {
        if overwrite {
            Self::reserve(head, name);
        }
        if overwrite || !head.headers.contains_key(name) {
            head.headers.insert(name, value.clone());
        }
    }

    /// Takes the stored names out of `head`. The fields with these names are removed from the trailers of
    /// `body`.
    pub(crate) fn guard_trailers(head: &mut request::Parts, body: &mut Body) {
        if let Some(filled) = head.extensions.remove::<Self>()
            && !body.is_end_stream()
        {
            let inner = std::mem::take(body);
            let strip = move |trailers: &mut HeaderMap| filled.strip(trailers);
            *body = Body::new(TrailersBody::new(inner, strip));
        }
    }

    fn strip(&self, trailers: &mut HeaderMap) {
        let filled = |own: &HeaderName| self.0.iter().any(|name| is_variant(own, name));
        let names: Vec<_> = trailers.keys().filter(|own| filled(own)).cloned().collect();
        for name in names {
            trailers.remove(name);
        }
    }
}

fn has_variants(name: &HeaderName) -> bool {
    name.as_str().contains(['-', '_'])
}

/// Whether the names are equal if `_` and `-` are treated as equal.
fn is_variant(left: &HeaderName, right: &HeaderName) -> bool {
    let (left, right) = (left.as_str().bytes(), right.as_str().bytes());
    let plain = |byte| if byte == b'_' { b'-' } else { byte };
    left.len() == right.len() && left.map(plain).eq(right.map(plain))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;
    use http_body::Frame;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    fn head(names: &[&'static str]) -> request::Parts {
        let (mut head, ()) = Request::new(()).into_parts();
        for name in names {
            head.headers
                .append(*name, HeaderValue::from_static("client"));
        }
        head
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_field_replaces_that_of_the_client_only_with_overwrite() {
        let name = HeaderName::from_static("x-user");
        let own = HeaderValue::from_static("own");
        for (client, overwrite, expected) in [
            (&[][..], false, "own"),
            (&["x-user"], false, "client"),
            (&["x-user", "x_user"], true, "own"),
        ] {
            let mut head = head(client);

            FilledFields::set(&mut head, &name, &own, overwrite);

            let values: Vec<_> = head.headers.values().collect();
            assert_eq!(values, [expected]);
        }
    }

    #[test]
    fn a_filled_field_is_removed_in_every_spelling() {
        let mut head = head(&["x-user", "x_user", "x-users", "xuser", "x-user-id"]);

        FilledFields::reserve(&mut head, &HeaderName::from_static("x-user"));

        assert_eq!(names(&head.headers), ["x-user-id", "x-users", "xuser"]);
    }

    #[test]
    fn a_spelling_that_another_policy_has_filled_is_kept() {
        let mut head = head(&[]);
        let (first, second) = ("x-user", "x_user");
        FilledFields::reserve(&mut head, &HeaderName::from_static(first));
        head.headers
            .insert(first, HeaderValue::from_static("policy"));

        FilledFields::reserve(&mut head, &HeaderName::from_static(second));

        assert_eq!(names(&head.headers), [first]);
    }

    #[tokio::test]
    async fn trailers_lose_filled_fields() {
        let mut head = head(&[]);
        FilledFields::reserve(&mut head, &HeaderName::from_static("x-user"));
        let trailers = ["x-user", "x_user", "x-checksum"].map(|name| {
            let value = HeaderValue::from_static("client");
            (HeaderName::from_static(name), value)
        });
        let frames = [
            Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"data"))),
            Ok(Frame::trailers(HeaderMap::from_iter(trailers))),
        ];
        let mut body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));

        FilledFields::guard_trailers(&mut head, &mut body);

        let all = body.collect().await.unwrap();
        assert_eq!(names(all.trailers().unwrap()), ["x-checksum"]);
        assert_eq!(all.to_bytes(), "data");
        assert!(head.extensions.get::<FilledFields>().is_none());
    }
}
