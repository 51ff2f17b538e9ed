//! Prints the statuses that manifests would get: `cargo run --example status -- folder ...`
//!
//! As in a cluster, each Gateway has its own address.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use towergate_k8s::resolve::{ResolveOptions, resolve};
use towergate_k8s::source::Folder;

fn main() {
    let paths: Vec<PathBuf> = std::env::args().skip(1).map(PathBuf::from).collect();
    let loaded = Folder::new(false).read(&paths);
    let gateways = loaded.objects.gateways.keys().zip(1..);
    let scope = ResolveOptions {
        bind_gateway: gateways
            .map(|(key, at)| {
                (
                    key.to_string(),
                    vec![Ipv4Addr::from_bits(0x7f01_0000 + at).into()],
                )
            })
            .collect(),
        ..ResolveOptions::default()
    };
    let resolution = resolve(&loaded.objects, &scope);
    for status in resolution.statuses.objects() {
        println!("---\n{status:#}");
    }
    for diagnostic in loaded.diagnostics.iter().chain(&resolution.diagnostics) {
        eprintln!(
            "{:?} {} {}:{}:{} {} {:?} {}: {} {}",
            diagnostic.severity,
            diagnostic.code,
            diagnostic.file,
            diagnostic.line,
            diagnostic.column,
            diagnostic.kind,
            diagnostic.object.as_ref().map(ToString::to_string),
            diagnostic.field,
            diagnostic.message,
            diagnostic.help
        );
    }
}
