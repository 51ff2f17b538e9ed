//! Parameters of GatewayClasses and Gateways: kind EnvoyProxy of Envoy Gateway.
//!
//! The EnvoyProxy of a Gateway replaces that of its GatewayClass, or is merged with it (`mergeType`). If the
//! reference cannot be resolved or the EnvoyProxy is invalid, the Gateway is not accepted
//! (`InvalidParameters`, as Gateway API recommends), and no Service is created: a Service without the
//! settings of the EnvoyProxy could admit more clients. If the EnvoyProxy does not exist, listeners and routes are
//! resolved as in Envoy Gateway, and existing data planes keep serving them. Fields that only configure Envoy
//! are ignored with a warning.

use std::borrow::Cow;

use towergate_policy::envoy_proxy::EnvoyProxySpec;
use towergate_policy::merge::merge;

use super::super::object_index::ObjectIndex;
use super::super::report::{Report, Subject};
use super::process;
use crate::api::ENVOY_GROUP;
use crate::api::gateway::{GatewayClassSpec, GatewaySpec};
use crate::finding::FindingCode;
use crate::objects::{Object, ObjectKey, Objects};
use crate::status::{
    Condition, ConditionType, Conditions, GatewayClassReason, GatewayReason, Reason,
};

/// Field of a Gateway.
const OF_GATEWAY: &str = "spec.infrastructure.parametersRef";
/// Field of a GatewayClass.
const OF_CLASS: &str = "spec.parametersRef";

/// The EnvoyProxy that applies to a Gateway; `None` if neither the Gateway nor its GatewayClass references an
/// EnvoyProxy.
///
/// # Errors
/// Why the Gateway is not served: the EnvoyProxy is missing or invalid, or has an unsupported field that
/// could change where requests are sent.
pub fn gateway_parameters<'a>(
    objects: &'a Objects,
    gateway: &Object<GatewaySpec>,
) -> Result<Option<Cow<'a, EnvoyProxySpec>>, String> {
    let own = of_gateway(objects, gateway)?;
    let class = ObjectKey::new("", &*gateway.spec.gateway_class_name);
    let class = objects.gateway_classes.get(&class);
    let class = class
        .filter(|_| !own.is_some_and(replaces))
        .map(|class| of_class(objects, class))
        .transpose()
        .map_err(|message| format!("GatewayClass: {message}"))?
        .flatten();
    match (class, own) {
        (Some(class), Some(own)) => {
            let merged = merge(&class.spec, &class.meta.namespace, &own.spec);
            let merged = merged.map_err(|error| error.to_string())?;
            merged.error().map_or(Ok(Some(Cow::Owned(merged))), Err)
        }
        (class, own) => Ok(own.or(class).map(|object| Cow::Borrowed(&object.spec))),
    }
}

/// The namespace of the EnvoyProxy that applies to a Gateway: that of the Gateway, or of its GatewayClass.
pub(super) fn namespace(objects: &Objects, gateway: &Object<GatewaySpec>) -> String {
    if let Ok(Some(own)) = of_gateway(objects, gateway) {
        return own.meta.namespace.clone();
    }
    let class = ObjectKey::new("", &*gateway.spec.gateway_class_name);
    let class = objects.gateway_classes.get(&class);
    let found = class.and_then(|class| of_class(objects, class).ok().flatten());
    found.map_or_else(String::new, |found| found.meta.namespace.clone())
}

/// Whether an EnvoyProxy of a Gateway replaces that of its GatewayClass.
fn replaces(own: &Object<EnvoyProxySpec>) -> bool {
    use towergate_policy::backend_traffic::MergeType;
    matches!(own.spec.merge_type, None | Some(MergeType::Replace))
}

/// The EnvoyProxy that a Gateway itself references.
pub(super) fn of_gateway<'a>(
    objects: &'a Objects,
    gateway: &Object<GatewaySpec>,
) -> Result<Option<&'a Object<EnvoyProxySpec>>, String> {
    let infrastructure = gateway.spec.infrastructure.as_ref();
    let reference = infrastructure.and_then(|found| found.parameters_ref.as_ref());
    reference
        .map(|reference| {
            let key = ObjectKey::new(&*gateway.meta.namespace, &*reference.name);
            find(objects, &reference.group, &reference.kind, key)
        })
        .transpose()
}

/// The EnvoyProxy of a GatewayClass.
fn of_class<'a>(
    objects: &'a Objects,
    class: &Object<GatewayClassSpec>,
) -> Result<Option<&'a Object<EnvoyProxySpec>>, String> {
    let reference = class.spec.parameters_ref.as_ref();
    reference
        .map(|reference| {
            let namespace = reference.namespace.as_deref().unwrap_or_default();
            let key = ObjectKey::new(namespace, &*reference.name);
            find(objects, &reference.group, &reference.kind, key)
        })
        .transpose()
}

/// Whether the GatewayClass merges its Gateways. Only then can an EnvoyPatchPolicy target the class.
pub(in super::super) fn merges_gateways(objects: &Objects, class: &str) -> bool {
    let class = objects.gateway_classes.get(&ObjectKey::new("", class));
    let proxy = class.and_then(|class| of_class(objects, class).ok().flatten());
    proxy.is_some_and(|proxy| proxy.spec.merge_gateways == Some(true))
}

fn find<'a>(
    objects: &'a Objects,
    group: &str,
    kind: &str,
    key: ObjectKey,
) -> Result<&'a Object<EnvoyProxySpec>, String> {
    let name = &key.name;
    if (group, kind) != (ENVOY_GROUP, "EnvoyProxy") {
        return Err(format!(
            "parameters of kind {kind} in group {group:?} are not supported ({name})"
        ));
    }
    let Some(object) = objects.envoy_proxies.get(&key) else {
        return Err(format!("EnvoyProxy {key} not found"));
    };
    let unreadable_fields = object.unreadable_fields.first().map(ToString::to_string);
    match unreadable_fields.or_else(|| object.spec.error()) {
        Some(error) => Err(format!("EnvoyProxy {key}: {error}")),
        None => Ok(object),
    }
}

/// Sets the conditions of a GatewayClass for its parameters.
pub(super) fn check_class(
    objects: &Objects,
    class: &Object<GatewayClassSpec>,
    conditions: &mut Conditions<GatewayClassReason>,
    report: &mut Report,
) {
    let subject = Subject::new("GatewayClass", class);
    match of_class(objects, class) {
        Ok(None) => {}
        Ok(Some(found)) => warn(
            &without_effect(found).into_iter().collect::<Vec<_>>(),
            (conditions, GatewayClassReason::UnsupportedField),
            report,
            &subject,
            OF_CLASS,
        ),
        Err(message) => {
            conditions.set(
                ConditionType::Accepted,
                false,
                GatewayClassReason::InvalidParameters,
                &*message,
            );
            refuse(report, &subject, OF_CLASS, message, "GatewayClass");
        }
    }
}

/// Sets the conditions of a Gateway for its parameters. Returns whether the Gateway can be served.
pub(super) fn check_gateway(
    index: &ObjectIndex<'_>,
    gateway: &Object<GatewaySpec>,
    conditions: &mut Conditions<GatewayReason>,
    report: &mut Report,
    subject: &Subject<'_>,
) -> bool {
    let objects = index.objects;
    if let Err(message) = gateway_parameters(objects, gateway) {
        let reason = GatewayReason::InvalidParameters;
        conditions.set(ConditionType::Accepted, false, reason, &*message);
        refuse(report, subject, OF_GATEWAY, message, "Gateway");
        return is_missing(objects, gateway);
    }
    let own = of_gateway(objects, gateway).ok().flatten();
    let mut texts: Vec<String> = own.and_then(without_effect).into_iter().collect();
    if index.options.one_process {
        texts.extend(process::overridden(objects, index.options, gateway));
    }
    let place = (conditions, GatewayReason::UnsupportedField);
    warn(&texts, place, report, subject, OF_GATEWAY);
    true
}

/// Whether the Gateway references an EnvoyProxy that does not exist.
fn is_missing(objects: &Objects, gateway: &Object<GatewaySpec>) -> bool {
    let infrastructure = gateway.spec.infrastructure.as_ref();
    let reference = infrastructure.and_then(|found| found.parameters_ref.as_ref());
    reference.is_some_and(|reference| {
        let key = ObjectKey::new(&*gateway.meta.namespace, &*reference.name);
        (&*reference.group, &*reference.kind) == (ENVOY_GROUP, "EnvoyProxy")
            && !objects.envoy_proxies.contains_key(&key)
    })
}

fn refuse(
    report: &mut Report,
    subject: &Subject<'_>,
    field: &'static str,
    message: String,
    kind: &str,
) {
    let help =
        format!("correct or remove the reference; until then the {kind} gets no data planes");
    report.error(
        FindingCode::ParametersInvalid,
        subject,
        field,
        message,
        help,
    );
}

/// The fields of an EnvoyProxy that have no effect.
fn without_effect(proxy: &Object<EnvoyProxySpec>) -> Option<String> {
    let ignored = proxy.spec.ignored();
    (!ignored.is_empty()).then(|| {
        format!(
            "EnvoyProxy {}: these fields have no effect, because they configure Envoy or are not supported: {}",
            proxy.key(),
            ignored.join(", ")
        )
    })
}

/// Warns of settings that have no effect.
fn warn<R: Reason>(
    texts: &[String],
    (conditions, reason): (&mut Conditions<R>, R),
    report: &mut Report,
    subject: &Subject<'_>,
    field: &'static str,
) {
    if texts.is_empty() {
        return;
    }
    let message = texts.join("; ");
    report.warn(
        FindingCode::ParametersIgnored,
        subject,
        field,
        &*message,
        "remove the fields, or configure the equivalent policy or Towergate option",
    );
    conditions.insert(Condition {
        kind: ConditionType::Warning,
        status: true,
        reason,
        more_reasons: Vec::new(),
        message,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decode;
    use crate::{ResolveOptions, resolve};

    const CLASS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec:
  controllerName: gateway.envoyproxy.io/gatewayclass-controller
  parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: class, namespace: system}
---
";

    fn gateway(own: Option<&str>) -> String {
        let reference = own.map(|name| {
            format!("\n  infrastructure: {{parametersRef: {{group: gateway.envoyproxy.io, kind: EnvoyProxy, name: {name}}}}}")
        });
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: g, namespace: d}}\n\
             spec:\n  gatewayClassName: eg\n  listeners: [{{name: a, port: 80, protocol: HTTP}}]{}\n---\n",
            reference.unwrap_or_default()
        )
    }

    fn proxy(namespace: &str, name: &str, spec: &str) -> String {
        format!(
            "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyProxy\n\
             metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n---\n"
        )
    }

    fn parameters(manifests: &str) -> Result<Option<EnvoyProxySpec>, String> {
        let decoded = decode("a.yaml", manifests);
        let gateway = decoded.objects.gateways.values().next();
        let gateway = gateway.expect("there is a Gateway");
        gateway_parameters(&decoded.objects, gateway).map(|found| found.map(Cow::into_owned))
    }

    #[test]
    fn the_envoy_proxy_of_a_gateway_replaces_that_of_its_class_or_is_merged_with_it() {
        let class = proxy("system", "class", "{concurrency: 2, ipFamily: IPv6}");
        let own = |spec: &str| {
            let text = CLASS.to_owned() + &class + &gateway(Some("own")) + &proxy("d", "own", spec);
            let found = parameters(&text)
                .expect("it is valid")
                .expect("it is found");
            (found.concurrency, found.ip_family.map(String::from))
        };
        let ipv6 = Some("IPv6".to_owned());

        let of_class = parameters(&(CLASS.to_owned() + &class + &gateway(None)));

        let of_class = of_class.expect("it is valid").expect("it is found");
        assert_eq!(of_class.concurrency, Some(2));
        assert_eq!(own("{concurrency: 4}"), (Some(4), None));
        assert_eq!(
            own("{concurrency: 4, mergeType: JSONMerge}"),
            (Some(4), ipv6)
        );
    }

    #[test]
    fn a_missing_or_invalid_envoy_proxy_is_named() {
        for (text, expected) in [
            (gateway(Some("own")), "EnvoyProxy d/own not found"),
            (
                gateway(Some("own")) + &proxy("d", "own", "{concurrency: many}"),
                "spec.concurrency",
            ),
            (
                gateway(Some("own")) + &proxy("d", "own", "{preserveRouteOrder: true}"),
                "spec.preserveRouteOrder",
            ),
            (
                CLASS.to_owned() + &gateway(None),
                "EnvoyProxy system/class not found",
            ),
        ] {
            let error = parameters(&text).expect_err("it is refused");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn fields_of_envoy_are_a_warning_on_the_gateway_which_is_served() {
        let text = gateway(Some("own")) + &proxy("d", "own", "{bootstrap: {value: a}}");
        let objects = decode("a.yaml", &text).objects;

        let resolution = resolve(&objects, &ResolveOptions::default());

        let status = resolution.statuses.0.values().next().expect("a status");
        let conditions = status["conditions"].as_array().expect("conditions");
        let of = |kind: &str| conditions.iter().find(|one| one["type"] == kind);
        assert_eq!(of("Accepted").expect("it is set")["status"], "True");
        let warning = of("Warning").expect("it is set");
        assert_eq!(warning["reason"], "UnsupportedField");
        let message = warning["message"].as_str().expect("a text");
        assert!(message.contains("spec.bootstrap"), "{message}");
        assert_eq!(resolution.plan.ports.len(), 1);
    }

    /// Gateways `a` and `b`, each with an EnvoyProxy, and their warnings.
    fn warnings(of_a: &str, of_b: &str, one_process: bool) -> Vec<Option<String>> {
        let named = |name: &str, spec: &str| {
            gateway(Some(name)).replace("name: g,", &format!("name: {name},"))
                + &proxy("d", name, spec)
        };
        let decoded = decode("a.yaml", &(named("a", of_a) + &named("b", of_b)));
        let options = ResolveOptions {
            one_process,
            ..ResolveOptions::default()
        };
        let statuses = resolve(&decoded.objects, &options).statuses;
        let warning = |name: &str| {
            let key = crate::status::StatusKey::new("Gateway", ObjectKey::new("d", name));
            let conditions = statuses.0[&key]["conditions"].as_array().cloned();
            let mut conditions = conditions.into_iter().flatten();
            let warning = conditions.find(|condition| condition["type"] == "Warning")?;
            warning["message"].as_str().map(str::to_owned)
        };
        vec![warning("a"), warning("b")]
    }

    #[test]
    fn settings_that_differ_in_one_process_are_named_on_the_other_gateways() {
        let found = warnings(
            "{concurrency: 2, ipFamily: IPv4}",
            "{concurrency: 3, ipFamily: IPv6, shutdown: {drainTimeout: 9s}}",
            true,
        );

        assert_eq!(found[0], None);
        let expected = "one process serves all Gateways: concurrency, shutdown.drainTimeout are those of Gateway d/a";
        assert_eq!(found[1].as_deref(), Some(expected));
    }

    #[test]
    fn equal_settings_and_settings_of_separate_processes_are_no_warning() {
        let (two, three) = ("{concurrency: 2}", "{concurrency: 3}");

        assert_eq!(warnings(two, two, true), [None, None]);
        assert_eq!(warnings(two, three, false), [None, None]);
    }

    #[test]
    fn a_filter_order_is_a_warning_unless_it_protects_something() {
        let order = |name: &str| {
            format!(
                "{{filterOrder: [{{name: envoy.filters.http.{name}, before: envoy.filters.http.ext_authz}}]}}"
            )
        };

        let found = warnings(&order("compressor"), "{}", false);
        assert!(
            found[0]
                .as_deref()
                .is_some_and(|text| text.contains("spec.filterOrder"))
        );
        let text = gateway(Some("own")) + &proxy("d", "own", &order("local_ratelimit"));
        let error = parameters(&text).expect_err("it is refused");
        let expected = "spec.filterOrder[0]: local_ratelimit before ext_authz is not supported";
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn the_order_of_authentication_is_that_of_the_gateway() {
        use towergate_core::policy::{RoutePolicy, Stage};
        let of = |gateway: &str| {
            format!(
                "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {gateway}, namespace: d}}
spec:
  parentRefs: [{{name: {gateway}}}]
  rules: [{{backendRefs: [{{name: s, port: 80}}]}}]
---
"
            )
        };
        let policy = "
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: p, namespace: d}
spec:
  targetSelectors: [{group: gateway.networking.k8s.io, kind: HTTPRoute, matchLabels: {}}]
  extAuth: {http: {backendRefs: [{name: s, port: 80}]}}
---
apiVersion: v1
kind: Service
metadata: {name: s, namespace: d}
spec: {ports: [{port: 80}]}
---
";
        let plain = gateway(None).replace("name: g,", "name: plain,");
        let order = "{filterOrder: [{name: envoy.filters.http.ext_authz, after: envoy.filters.http.jwt_authn}]}";
        let ordered = gateway(Some("own")).replace("name: g,", "name: ordered,");
        let ordered = ordered.replace("port: 80", "port: 81");
        let parts = [
            plain,
            ordered,
            of("plain"),
            of("ordered"),
            policy.to_owned(),
        ];
        let text = parts.concat() + &proxy("d", "own", order);

        let resolution = resolve(&decode("a.yaml", &text).objects, &ResolveOptions::default());

        let listeners = resolution
            .plan
            .ports
            .iter()
            .flat_map(|port| &port.listeners);
        let stage = |gateway: &str| {
            let mut own = listeners
                .clone()
                .filter(|listener| listener.id.gateway == gateway);
            let listener = own.next().expect("the listener");
            let policies = &listener.routes[0].rules[0].policies;
            policies.iter().map(RoutePolicy::stage).collect::<Vec<_>>()
        };
        assert_eq!(stage("plain"), [Stage::ExternalAuth]);
        assert_eq!(stage("ordered"), [Stage::Jwt]);
        assert!(resolution.statuses.0.values().all(|status| {
            let conditions = status["conditions"].as_array();
            conditions.is_none_or(|all| all.iter().all(|one| one["type"] != "Warning"))
        }));
    }
}
