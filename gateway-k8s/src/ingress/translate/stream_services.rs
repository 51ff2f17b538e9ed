//! The entries of `tcp-services` and `udp-services`: `PORT: NAMESPACE/SERVICE:PORT[:PROXY][:PROXY]`.

use std::collections::BTreeSet;

use super::Translator;
use crate::ingress::controller::{ControllerConfig, object_key};
use crate::ingress::input::Manifests;
use crate::ingress::servers::BackendPort;
use crate::ingress::verdict::{Aspect, Finding, MigrationVerdict, SettingKind, SourcePlace};
use crate::objects::ObjectKey;

/// Ports that ingress-nginx uses itself, each with the flag that changes the port.
const RESERVED: [(&str, u16); 8] = [
    ("http-port", 80),
    ("https-port", 443),
    ("ssl-passthrough-proxy-port", 442),
    ("healthz-port", 10254),
    ("default-server-port", 8181),
    ("profiler-port", 10245),
    ("status-port", 10246),
    ("stream-port", 10247),
];

/// A port of the controller that forwards to a Service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Exposed {
    /// `TCP` or `UDP`.
    pub(super) kind: &'static str,
    pub(super) port: u16,
    pub(super) backend: BackendPort,
    /// Whether clients send a PROXY header.
    pub(super) decodes: bool,
    /// Whether the backend expects a PROXY header.
    pub(super) encodes: bool,
}

impl Exposed {
    /// Reads an entry.
    ///
    /// # Errors
    /// The verdict on an entry that is not served.
    fn read(
        (kind, port, text): (&'static str, &str, &str),
        config: &ControllerConfig,
        manifests: &Manifests,
    ) -> Result<Self, Finding> {
        let ignored = |why: &str| {
            Finding::same(format!(
                "{why}: ingress-nginx ignores the entry, and so does the translation"
            ))
        };
        let number = port.parse::<u16>().ok().filter(|port| *port > 0);
        let number = number.ok_or_else(|| ignored("the key is not a port"))?;
        let is_reserved = RESERVED.iter().any(|(flag, default)| {
            let own = config.flag(flag).and_then(|text| text.trim().parse().ok());
            own.unwrap_or(*default) == number
        });
        if is_reserved {
            return Err(ignored("ingress-nginx uses the port itself"));
        }
        if matches!(number, 80 | 443) {
            let text = "the Gateway has listeners for HTTP and HTTPS on the ports 80 and 443, so the port is not exposed: choose another port";
            return Err(Finding::decision(text, SERVED));
        }
        let parts: Vec<&str> = text.trim().split(':').collect();
        let [service, target, proxy @ ..] = &parts[..] else {
            return Err(ignored("the value is not `namespace/service:port`"));
        };
        if service.split('/').count() != 2 {
            return Err(ignored("the value is not `namespace/service:port`"));
        }
        let service = object_key(service, "default");
        let is_complete = !manifests.endpoint_owners.is_empty();
        if is_complete && !manifests.services.contains_key(&service) {
            return Err(ignored("the Service does not exist"));
        }
        let is_proxy = |at: usize| {
            let word = proxy.get(at).filter(|_| kind == "TCP");
            word.is_some_and(|word| word.eq_ignore_ascii_case("PROXY"))
        };
        Ok(Self {
            kind,
            port: number,
            backend: BackendPort {
                service,
                port: (*target).to_owned(),
            },
            decodes: is_proxy(0),
            encodes: proxy.len() == 2 && is_proxy(1),
        })
    }

    /// Name of the listener.
    pub(super) fn section(&self) -> String {
        format!("{}-{}", self.kind.to_ascii_lowercase(), self.port)
    }

    fn finding(&self) -> Finding {
        let text = "a listener and a route, which need the experimental channel of Gateway API; open the port on the load balancer";
        if self.encodes {
            let text =
                format!("{text}. The backend receives no PROXY header, which the entry requires");
            return Finding::impossible(text, SERVED);
        }
        let text = match self.decodes {
            true => {
                format!("{text}. A ClientTrafficPolicy requires the PROXY header of the client")
            }
            false => text.to_owned(),
        };
        Finding::differs(text, &[])
    }
}

const SERVED: &[Aspect] = &[Aspect::Status, Aspect::Body, Aspect::Calls];

impl Translator<'_> {
    /// The ports of both ConfigMaps, and the verdicts on all entries.
    fn entries(&self) -> (Vec<Exposed>, Vec<MigrationVerdict>) {
        let (mut exposed, mut verdicts) = (Vec::new(), Vec::new());
        let mut used = BTreeSet::new();
        for (kind, name) in [("TCP", "tcp-services"), ("UDP", "udp-services")] {
            let flag = self.config.flag(&format!("{name}-configmap"));
            let Some(key) = flag.map(|text| object_key(text, "ingress-nginx")) else {
                continue;
            };
            let data = self.manifests.config_maps.get(&key);
            let entries = data
                .into_iter()
                .flat_map(|data| data.values.iter().map(move |entry| (data, entry)));
            for (data, (port, written)) in entries {
                let place = SourcePlace {
                    file: data.file.to_string(),
                    line: written.line,
                };
                let entry = (kind, port.as_str(), written.text.as_str());
                let read = Exposed::read(entry, self.config, self.manifests);
                let read = read.and_then(|one| match used.insert((kind, one.port)) {
                    true => Ok(one),
                    false => Err(Finding::decision("another entry has the port", SERVED)),
                });
                let finding = read.as_ref().map_or_else(Clone::clone, Exposed::finding);
                exposed.extend(read);
                let setting = format!("{name} {port}");
                let value = written.text.clone();
                verdicts.push(of_entry(&key, (setting, value), place, finding));
            }
        }
        (exposed, verdicts)
    }

    /// The ports that are exposed.
    pub(super) fn exposed(&self) -> Vec<Exposed> {
        self.entries().0
    }

    /// Adds the verdicts on the entries of `tcp-services` and `udp-services`.
    pub(crate) fn stream_verdicts(&mut self) {
        let verdicts = self.entries().1;
        self.verdicts.extend(verdicts);
    }
}

/// The verdict on an entry of the ConfigMap `key`.
fn of_entry(
    key: &ObjectKey,
    (setting, value): (String, String),
    place: SourcePlace,
    finding: Finding,
) -> MigrationVerdict {
    MigrationVerdict {
        object: format!("ConfigMap {key}"),
        kind: SettingKind::ConfigKey,
        setting,
        value,
        place,
        outcome: finding.outcome,
        text: finding.text,
        affects: finding.affects,
        example: None,
    }
}
