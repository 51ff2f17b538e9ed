//! Golden tests of `resolve`. Each folder of `cases` contains manifests (`in.yaml`) and the expected plan
//! (`plan.json`), statuses (`status.json`) and diagnostics (`diagnostics.txt`).
//!
//! `UPDATE=1` writes the actual results. Review the difference before you commit it.
//!
//! A folder may contain `assigned.json`, the addresses of its Gateways (`ResolveOptions::assigned`).
//!
//! The plan omits default values and shows only the names of certificates. A Secret whose `tls.crt` is
//! `certificate for a.example.com` gets a generated certificate and key.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use towergate_core::plan::{ListenerSettings, TcpSettings, Traffic};
use towergate_k8s::decode::{Diagnostic, decode};
use towergate_k8s::resolve::{Resolution, ResolveOptions, resolve};
use towergate_k8s::wire::{Decoder, FrameReader, Peer, Version};
use towergate_k8s::{ObjectKey, Objects};
use towergate_tls::ServerTls;

fn scope(folder: &Path) -> ResolveOptions {
    let assigned = fs::read_to_string(folder.join("assigned.json")).ok();
    ResolveOptions {
        controller_name: "gateway.envoyproxy.io/gatewayclass-controller".to_owned(),
        serve_unclassed: true,
        ports: [(80, 8080), (443, 8443)].into(),
        bind: vec!["192.0.2.1".parse().unwrap()],
        bind_gateway: [("other/other".to_owned(), vec!["192.0.2.2".parse().unwrap()])].into(),
        assigned: assigned.map(|text| serde_json::from_str(&text).unwrap()),
        now: Some(1_800_000_000),
        ..ResolveOptions::default()
    }
}

#[test]
fn every_case_resolves_as_recorded() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut folders: Vec<_> = fs::read_dir(cases)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for folder in &folders {
        let text = fs::read_to_string(folder.join("in.yaml")).unwrap();
        let (objects, decoded) = objects(&text);
        let resolution = resolve(&objects, &scope(folder));
        let files = [
            ("plan.json", plan(&resolution)),
            ("status.json", statuses(&resolution)),
            (
                "diagnostics.txt",
                diagnostics(decoded.iter().chain(&resolution.diagnostics)),
            ),
        ];
        for (name, made) in files {
            let path = folder.join(name);
            if update {
                fs::write(&path, &made).unwrap();
            }
            if fs::read_to_string(&path).unwrap_or_default() != made {
                wrong.push(format!("{}:\n{made}", path.display()));
            }
        }
    }
    assert!(folders.len() > 10);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Encoding and decoding a plan returns the original plan.
#[test]
fn a_plan_is_received_as_it_was_sent() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    for folder in fs::read_dir(cases).unwrap() {
        let path = folder.unwrap().path();
        let text = fs::read_to_string(path.join("in.yaml")).unwrap();
        let Resolution {
            plan, endpoints, ..
        } = resolve(&objects(&text).0, &scope(&path));
        let (plan, endpoints) = (Arc::new(plan), Arc::new(endpoints));
        let version = Version::new(1, plan.clone(), endpoints.clone(), None).unwrap();
        let (mut reader, mut decoder) = (FrameReader::default(), Decoder::default());
        for piece in Peer::empty().update(&version).unwrap() {
            reader.push(&piece.unwrap());
        }
        let mut arrived = None;
        while let Some((kind, payload)) = reader.next_frame().unwrap() {
            arrived = decoder.take(kind, payload).unwrap();
        }

        let arrived = arrived.unwrap();

        assert_eq!(arrived.plan, plan, "{}", path.display());
        assert_eq!(arrived.endpoints, endpoints, "{}", path.display());
    }
}

#[test]
fn the_order_of_documents_does_not_change_the_result() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    for folder in fs::read_dir(cases).unwrap() {
        let folder = folder.unwrap().path();
        let text = fs::read_to_string(folder.join("in.yaml")).unwrap();
        let mut documents: Vec<_> = text.split("\n---\n").collect();
        let forwards = resolve(&objects(&text).0, &scope(&folder));
        documents.reverse();
        let backwards = resolve(&objects(&documents.join("\n---\n")).0, &scope(&folder));

        assert_eq!(plan(&forwards), plan(&backwards));
        assert_eq!(forwards.statuses, backwards.statuses);
        assert_eq!(forwards.endpoints, backwards.endpoints);
        assert_eq!(forwards.diagnostics.len(), backwards.diagnostics.len());
    }
}

#[test]
fn an_invalid_object_does_not_affect_others() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/guide-direct");
    let text = fs::read_to_string(folder.join("in.yaml")).unwrap();
    let whole = resolve(&objects(&text).0, &scope(&folder));
    let broken = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: broken, namespace: team-a}\nspec: nonsense";

    let (objects, decoded) = objects(&format!("{text}\n---\n{broken}\n"));
    let resolution = resolve(&objects, &scope(&folder));

    assert_eq!(decoded.len(), 1);
    assert_eq!(plan(&resolution), plan(&whole));
    for (key, status) in &whole.statuses.0 {
        assert_eq!(resolution.statuses.0.get(key), Some(status));
    }
}

/// Decodes manifests and replaces the placeholders of certificates with generated certificates.
fn objects(text: &str) -> (Objects, Vec<Diagnostic>) {
    let mut decoded = decode("in.yaml", text);
    for secret in decoded.objects.secrets.values_mut() {
        let values = &mut secret.spec.string_data;
        let wanted = values
            .get("tls.crt")
            .and_then(|text| text.strip_prefix("certificate for "));
        if let Some(names) = wanted {
            let names: Vec<_> = names.split(", ").map(str::to_owned).collect();
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new(names)
                .unwrap()
                .self_signed(&key)
                .unwrap();
            values.insert("tls.crt".to_owned(), certificate.pem());
            values.insert("tls.key".to_owned(), key.serialize_pem());
        }
    }
    for bundle in decoded.objects.config_maps.values_mut() {
        if let Some(value) = bundle
            .spec
            .data
            .get_mut("ca.crt")
            .filter(|value| *value == "authority")
        {
            let key = KeyPair::generate().unwrap();
            *value = CertificateParams::new(vec![])
                .unwrap()
                .self_signed(&key)
                .unwrap()
                .pem();
        }
    }
    (decoded.objects, decoded.diagnostics)
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn statuses(resolution: &Resolution) -> String {
    let mut text = pretty(&resolution.statuses.objects().collect());
    // The list of supported features is not part of any case.
    const FEATURES: &str = "\"supportedFeatures\": [";
    while let Some(at) = text.find(FEATURES) {
        let end = at + text[at..].find(']').unwrap();
        text.replace_range(at..=end, "\"supportedFeatures\": \"...\"");
    }
    text
}

fn diagnostics<'d>(diagnostics: impl Iterator<Item = &'d Diagnostic>) -> String {
    let mut text = String::new();
    for found in diagnostics {
        let object = found
            .object
            .as_ref()
            .map(ObjectKey::to_string)
            .unwrap_or_default();
        writeln!(
            text,
            "{}:{}:{} {:?} {}: {} {object} {}\n  {}\n  {}",
            found.file,
            found.line,
            found.column,
            found.severity,
            found.code,
            found.kind,
            found.field,
            found.message,
            found.help
        )
        .unwrap();
    }
    text
}

/// Returns the plan without default values.
fn plan(resolution: &Resolution) -> String {
    let mut value = serde_json::to_value(&resolution.plan).unwrap();
    without(&mut value, &json!({ "datagrams": [] }));
    for port in list(&mut value["ports"]) {
        without(&mut port["tcp"], &json!(TcpSettings::default()));
        for listener in list(&mut port["listeners"]) {
            without(
                &mut listener["settings"],
                &json!(ListenerSettings::default()),
            );
            without(listener, &json!({ "streams": [] }));
            for protocol in ["/protocol/Https", "/protocol/Tls"] {
                let tls = listener.pointer_mut(protocol);
                if let Some(tls) = tls.filter(|tls| tls.is_object()) {
                    for certificate in list(&mut tls["certificates"]) {
                        *certificate = certificate["names"].take();
                    }
                    without(tls, &json!(ServerTls::default()));
                    if let Some(pem) = tls.pointer_mut("/clients/roots_pem") {
                        *pem = json!("...");
                    }
                }
            }
            streams(listener.get_mut("streams"));
            for route in list(&mut listener["routes"]) {
                for rule in list(&mut route["rules"]) {
                    without(&mut rule["traffic"], &json!(Traffic::default()));
                    backends(&mut rule["backends"]);
                    filters(&mut rule["filters"]);
                }
            }
        }
    }
    for port in value.get_mut("datagrams").map(list).unwrap_or_default() {
        streams(port.get_mut("routes"));
    }
    let endpoints = resolution.endpoints.iter();
    let endpoints = endpoints.map(|(id, found)| (id.to_string(), json!(found)));
    value["endpoints"] = Value::Object(endpoints.collect());
    pretty(&value)
}

fn streams(routes: Option<&mut Value>) {
    for route in routes.map(list).unwrap_or_default() {
        without(&mut route["traffic"], &json!(Traffic::default()));
        backends(&mut route["backends"]);
    }
}

fn backends(backends: &mut Value) {
    for backend in list(backends) {
        tls(backend.pointer_mut("/destination/Backend/tls"));
        filters(&mut backend["filters"]);
    }
}

fn filters(filters: &mut Value) {
    for filter in list(filters) {
        tls(filter.pointer_mut("/Mirror/backend/tls"));
    }
}

/// Replaces generated values, which differ in each run.
fn tls(tls: Option<&mut Value>) {
    let Some(tls) = tls else { return };
    if let Some(pem) = tls.get_mut("roots_pem").filter(|pem| pem.is_string()) {
        *pem = json!("...");
    }
    if let Some(identity) = tls.get_mut("identity") {
        *identity = identity["names"].take();
    }
}

fn list(value: &mut Value) -> &mut [Value] {
    value
        .as_array_mut()
        .map(Vec::as_mut_slice)
        .unwrap_or_default()
}

/// Removes fields whose value is that of `default`.
fn without(value: &mut Value, default: &Value) {
    let (Value::Object(fields), Value::Object(defaults)) = (value, default) else {
        return;
    };
    fields.retain(|name, value| defaults.get(name) != Some(value));
    for (name, value) in fields {
        if let Some(default) = defaults.get(name) {
            without(value, default);
        }
    }
}
