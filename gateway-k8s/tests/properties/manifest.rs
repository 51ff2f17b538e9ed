//! Any text gives objects and diagnostics: nothing panics, every place is in the text, and what was read
//! can be resolved.

use towergate_k8s::decode::decode;

/// Input: a file.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let decoded = decode("fuzz.yaml", text);
    // YAML ends a line at CR, too (YAML 1.2.2, section 5.4).
    let lines = text.split(['\n', '\r']).count();
    for diagnostic in &decoded.diagnostics {
        assert!(diagnostic.line <= lines + 1, "{diagnostic:?}");
        assert!(
            !diagnostic.message.is_empty() && diagnostic.column > 0,
            "{diagnostic:?}"
        );
    }
    for service in decoded.objects.services.values() {
        assert!(service.origin.locate("spec.ports[0].port").is_some());
    }
}
