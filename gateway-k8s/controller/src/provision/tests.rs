//! Tests of rendering, against golden YAML files, and of the provisioner, against an in-memory API server.

mod api;
mod golden;
mod provisioner;

use std::collections::BTreeMap;

use towergate_k8s::ObjectKey;

use super::desired::{Fate, GatewayToRun, Port, Transport};

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
        proxy: None,
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
