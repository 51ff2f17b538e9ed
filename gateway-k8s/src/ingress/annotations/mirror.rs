//! Mirrored requests.

use super::AnnotationReader;
use crate::ingress::value::url;
use crate::ingress::verdict::{Aspect, Finding};

pub(super) fn read(reader: &mut AnnotationReader<'_>) {
    let Some(text) = reader.text("mirror-target").map(str::trim) else {
        return;
    };
    let affects = &[Aspect::Calls, Aspect::RequestPath, Aspect::RequestHeaders];
    let (_, address) = text.split_once("://").unwrap_or_default();
    let host = address.split(['/', '?']).next().unwrap_or_default();
    let host = host.split("$request_uri").next().unwrap_or_default();
    if host.contains('$') {
        let text = "the host of the target contains nginx variables: requests are not mirrored. Set a fixed address";
        reader.found("mirror-target", Finding::impossible(text, affects));
        return;
    }
    let fixed = text.split('$').next().unwrap_or_default();
    let Some(parts) = url(fixed) else {
        reader.invalid("mirror-target", "the value is not a URL");
        return;
    };
    let text = match parts.path.trim_end_matches('/') {
        "" => "a RequestMirror: the copy has the path of the request and the fields that the backend receives".to_owned(),
        path => format!(
            "a RequestMirror: the copy has the path of the request, without the `{path}` of the target, and the fields that the backend receives"
        ),
    };
    reader.found("mirror-target", Finding::differs(text, affects));
    reader.settings.mirror = Some(parts);
}
