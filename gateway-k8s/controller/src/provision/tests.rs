//! What is rendered, as YAML beside this file, and what is done with it, at an API server of our own.

mod api;
mod golden;
mod provisioner;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use towergate_k8s::ObjectKey;

use super::credentials::{Issued, Issuer};
use super::wanted::{Fate, GatewayToRun, Port, Transport};

/// A Gateway of class `eg` in namespace `gateway`, with port 80.
pub(super) fn gateway(name: &str) -> GatewayToRun {
    GatewayToRun {
        key: ObjectKey::new("gateway", name),
        uid: format!("uid-of-{name}"),
        class: "eg".to_owned(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        ports: [tcp(80)].into(),
        addresses: Vec::new(),
        pool: Vec::new(),
        fate: Fate::Run,
    }
}

fn tcp(number: u16) -> Port {
    Port {
        number,
        transport: Transport::Tcp,
    }
}

fn udp(number: u16) -> Port {
    Port {
        number,
        transport: Transport::Udp,
    }
}

/// Issues numbered credentials that are to be renewed at second 1000.
#[derive(Debug, Default)]
pub(super) struct Counting {
    issued: AtomicU32,
    authority: AtomicU32,
}

impl Counting {
    pub(super) fn change_authority(&self) {
        self.authority.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u32 {
        self.issued.load(Ordering::Relaxed)
    }
}

impl Issuer for Counting {
    fn authority(&self) -> String {
        format!("authority-{}", self.authority.load(Ordering::Relaxed))
    }

    fn issue(&self, gateway: &GatewayToRun) -> Result<Issued, String> {
        let count = self.issued.fetch_add(1, Ordering::Relaxed);
        if gateway.key.name == "unlucky" {
            return Err("no entropy".to_owned());
        }
        Ok(Issued {
            certificate: format!("certificate {count} of {}", gateway.key),
            key: format!("key {count}"),
            trusted: "authority".to_owned(),
            renew_after: 1000 + i64::from(count),
        })
    }
}
