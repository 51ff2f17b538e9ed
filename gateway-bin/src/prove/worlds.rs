//! Proofs of random installations: no difference is without a verdict that describes it.
//!
//! `WORLDS=FIRST..LAST` selects the installations. Default: the first 24.

use std::ops::Range;

use towergate_k8s::ingress::{Manifests, MigrateOptions, translate};

use super::prove;

const CLASS: &str = "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: nginx}
spec: {controller: k8s.io/ingress-nginx}
";

const PATHS: [&str; 34] = [
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/ab",
    "/A",
    "/a.b",
    "/api",
    "/api(/|$)(.*)",
    "/a/?(.*)",
    "/[a-z]+",
    "/a.*",
    "/a$",
    "/(a|b)",
    "/a|/b",
    "/x/y/z",
    "/.well-known/acme-challenge",
    "/a-b",
    "/foo/(.*)/bar",
    "/a%20b",
    "/.*",
    "/(.*)",
    "/ad.",
    "/adm",
    "/adm|x",
    "/a:b",
    "/@fs",
    "/é",
    "/a b",
    "/a[b]",
    "/a;b",
    "/a+b",
    "/ad.*",
    "/a?b",
];
const TYPES: [&str; 3] = ["Prefix", "Exact", "ImplementationSpecific"];
const HOSTS: [&str; 4] = ["a.test", "b.test", "*.test", ""];

/// Annotations, their values, and the number of Ingresses among 100 that have them.
const ANNOTATIONS: [(&str, &[&str], usize); 14] = [
    (
        "whitelist-source-range",
        &["127.0.0.2", "10.0.0.0/8,127.0.0.3"],
        40,
    ),
    ("denylist-source-range", &["127.0.0.1", "192.0.2.0/24"], 10),
    ("use-regex", &["true"], 30),
    ("rewrite-target", &["/", "/$1", "/x/$1", "/y"], 20),
    ("app-root", &["/home"], 8),
    ("permanent-redirect", &["https://new.test/x"], 8),
    ("ssl-redirect", &["false", "true"], 15),
    ("force-ssl-redirect", &["true"], 10),
    ("from-to-www-redirect", &["true"], 8),
    ("enable-cors", &["true"], 10),
    ("upstream-vhost", &["v.internal"], 10),
    ("proxy-body-size", &["1k"], 10),
    ("satisfy", &["any"], 8),
    ("preserve-trailing-slash", &["true"], 8),
];

/// Random numbers that depend only on the seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap()
    }

    fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }
}

/// The manifests of an installation with up to three Ingresses.
fn installation(seed: u64) -> String {
    let mut random = Random(seed);
    let mut text = CLASS.to_owned();
    for number in 0..1 + random.below(3) {
        let host = random.pick(&HOSTS);
        let mut annotations = String::new();
        for (name, values, share) in ANNOTATIONS {
            let applies = !host.is_empty() || name != "app-root";
            if random.below(100) < share && applies {
                let value = random.pick(values);
                annotations.push_str(&format!(
                    "    nginx.ingress.kubernetes.io/{name}: {value:?}\n"
                ));
            }
        }
        let paths: String = (0..1 + random.below(2))
            .map(|_| {
                let (path, kind) = (random.pick(&PATHS), random.pick(&TYPES));
                let service = random.pick(&["app", "adm"]);
                format!(
                    "      - {{path: {path:?}, pathType: {kind}, backend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}\n"
                )
            })
            .collect();
        let tls = match random.below(3) {
            0 if !host.is_empty() => format!("  tls: [{{hosts: [{host:?}], secretName: cert}}]\n"),
            _ => String::new(),
        };
        let rule = match host {
            "" => String::new(),
            host => format!("host: {host:?}\n    "),
        };
        text.push_str(&format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: i{number}\n  namespace: team\n  \
             creationTimestamp: \"202{number}-01-01T00:00:00Z\"\n  annotations:\n    a: b\n{annotations}\
             spec:\n  ingressClassName: nginx\n{tls}  rules:\n  - {rule}http:\n      paths:\n{paths}"
        ));
    }
    text
}

/// The differences that no verdict describes.
fn undescribed(text: &str) -> Vec<String> {
    let mut manifests = Manifests::default();
    manifests.add("in.yaml", text);
    let mut migration = translate(&manifests, &MigrateOptions::default());
    let texts = [("in.yaml".to_owned(), text.to_owned())];
    let proof = prove(&manifests, &texts, &[], &mut migration, None).unwrap();
    let differences = proof.differences.into_iter();
    let open = differences.filter(|difference| difference.explained_by.is_empty());
    open.map(|one| {
        format!(
            "{}: expected {}, found {}",
            one.request, one.expected, one.found
        )
    })
    .collect()
}

fn worlds() -> Range<u64> {
    let selected = std::env::var("WORLDS").ok();
    let bounds = selected.as_deref().and_then(|text| text.split_once(".."));
    bounds.map_or(0..24, |(first, last)| {
        first.parse().unwrap()..last.parse().unwrap()
    })
}

#[test]
fn every_difference_of_a_random_installation_has_a_verdict() {
    let open: Vec<String> = worlds()
        .filter_map(|seed| {
            let text = installation(seed);
            let open = undescribed(&text);
            let first = open.iter().take(3).cloned().collect::<Vec<_>>().join("\n");
            (!open.is_empty())
                .then(|| format!("world {seed}: {} differences\n{first}\n{text}", open.len()))
        })
        .collect();

    assert!(
        open.is_empty(),
        "{} worlds:\n{}",
        open.len(),
        open.join("\n")
    );
}
