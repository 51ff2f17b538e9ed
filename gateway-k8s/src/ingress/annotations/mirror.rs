//! Mirrored requests.

use super::AnnotationReader;
use crate::ingress::value::url;
use crate::ingress::verdict::{Aspect, Finding};

pub(super) fn read(reader: &mut AnnotationReader<'_>) {
    let Some(text) = reader.text("mirror-target").map(str::trim) else {
        return;
    };
    let fixed = text.split('$').next().unwrap_or_default();
    let Some(parts) = url(fixed) else {
        reader.invalid("mirror-target", "it is no URL");
        return;
    };
    let text = "a RequestMirror: the copy has the path of the request and the fields that the backend receives";
    let affects = &[Aspect::Calls, Aspect::RequestPath, Aspect::RequestHeaders];
    reader.found("mirror-target", Finding::differs(text, affects));
    reader.settings.mirror = Some(parts);
}
