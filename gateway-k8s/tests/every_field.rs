//! The types contain every field of Gateway API v1.7.0, in both channels, and the fields of 1.6 that 1.7 has
//! replaced. A manifest with every field of the schemas is deserialized and serialized without loss.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use towergate_k8s::api::gateway::{GatewayClassSpec, GatewaySpec};
use towergate_k8s::api::grpc_route::GrpcRouteSpec;
use towergate_k8s::api::http_route::HttpRouteSpec;
use towergate_k8s::api::listener_set::ListenerSetSpec;
use towergate_k8s::api::policy::BackendTlsPolicySpec;
use towergate_k8s::api::reference_grant::ReferenceGrantSpec;
use towergate_k8s::api::stream_route::{PortRouteSpec, TlsRouteSpec};

fn written_again<T: Debug + Default + DeserializeOwned + PartialEq + Serialize>(text: &str) {
    let whole: Value = serde_json::from_str(text).expect("the file is JSON");

    let read: T = serde_json::from_value(whole.clone()).expect("every field is known");

    let written = serde_json::to_value(&read).expect("what is read can be written");
    assert_eq!(written, whole);
    assert_eq!(
        serde_json::to_value(T::default()).ok(),
        Some(Value::Object(Default::default()))
    );
}

#[test]
fn every_field_is_read_and_written_again() {
    written_again::<GatewayClassSpec>(include_str!("every_field/GatewayClass.json"));
    written_again::<GatewaySpec>(include_str!("every_field/Gateway.json"));
    written_again::<HttpRouteSpec>(include_str!("every_field/HTTPRoute.json"));
    written_again::<GrpcRouteSpec>(include_str!("every_field/GRPCRoute.json"));
    written_again::<TlsRouteSpec>(include_str!("every_field/TLSRoute.json"));
    written_again::<PortRouteSpec>(include_str!("every_field/TCPRoute.json"));
    written_again::<PortRouteSpec>(include_str!("every_field/UDPRoute.json"));
    written_again::<ListenerSetSpec>(include_str!("every_field/ListenerSet.json"));
    written_again::<ReferenceGrantSpec>(include_str!("every_field/ReferenceGrant.json"));
    written_again::<BackendTlsPolicySpec>(include_str!("every_field/BackendTLSPolicy.json"));
}

#[test]
fn null_is_the_same_as_nothing() {
    let route: HttpRouteSpec = serde_json::from_str(
        r#"{"parentRefs": null, "hostnames": null, "rules": [{"name": null}]}"#,
    )
    .expect("null is taken");

    assert_eq!(route.rules.len(), 1);
    assert!(route.parent_refs.is_empty());
}
