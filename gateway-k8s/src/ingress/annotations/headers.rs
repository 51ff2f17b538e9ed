//! Header fields of responses.

use super::AnnotationReader;
use crate::ingress::controller::object_key;
use crate::ingress::value::list;
use crate::ingress::verdict::{Aspect, Finding};

pub(super) fn read(reader: &mut AnnotationReader<'_>) {
    let Some(name) = reader.text("custom-headers").map(str::trim) else {
        return;
    };
    let key = object_key(name, &reader.ingress.key.namespace);
    let Some(data) = reader.manifests.config_maps.get(&key) else {
        reader.deny("custom-headers", &format!("ConfigMap {key} does not exist"));
        return;
    };
    let allowed = reader.config.text("global-allowed-response-headers");
    let allowed = allowed.map(list).unwrap_or_default();
    let allows = |name: &str| {
        allowed
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(name))
    };
    if let Some(name) = data.values.keys().find(|name| !allows(name)) {
        let why = format!("`{name}` is not in `global-allowed-response-headers`");
        reader.deny("custom-headers", &why);
        return;
    }
    let fields = data.values.iter();
    reader.settings.response_headers = fields
        .map(|(name, written)| (name.clone(), written.text.clone()))
        .collect();
    let text = "a ResponseHeaderModifier, which applies to responses of backends and to local replies of the gateway";
    reader.found(
        "custom-headers",
        Finding::differs(text, &[Aspect::ResponseHeaders]),
    );
}
