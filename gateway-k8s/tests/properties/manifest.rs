//! Any text decodes to objects and diagnostics without a panic. Every position is within the input, and the
//! fields of decoded objects can be located.

use towergate_k8s::decode::decode;

/// Checks one input: the content of a file.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let decoded = decode("fuzz.yaml", text);
    // YAML also ends a line at CR (YAML 1.2.2, section 5.4).
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
