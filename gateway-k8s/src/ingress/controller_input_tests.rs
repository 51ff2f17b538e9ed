//! Tests of the sources of controller settings: Helm values in files and objects, ConfigMaps and flags.

use super::verdict::{MigrationOutcome, MigrationVerdict};
use super::{Manifests, MigrateOptions, Migration, findings, translate};

const INGRESS: &str = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop}
spec:
  ingressClassName: nginx
  rules: [{host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
";

const INGRESS_WITH_SNIPPET: &str = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  namespace: shop
  annotations:
    nginx.ingress.kubernetes.io/configuration-snippet: \"more_set_headers 'X-A: b';\"
spec:
  ingressClassName: nginx
  rules: [{host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
";

fn read(texts: &[&str]) -> Manifests {
    let mut manifests = Manifests::default();
    for (number, text) in texts.iter().enumerate() {
        manifests.add(&format!("{number}.yaml"), text);
    }
    manifests
}

fn migrate(texts: &[&str]) -> Migration {
    translate(&read(texts), &MigrateOptions::default())
}

fn verdict<'a>(migration: &'a Migration, setting: &str) -> Option<&'a MigrationVerdict> {
    let mut verdicts = migration.verdicts.iter();
    verdicts.find(|one| one.setting == setting)
}

fn written(migration: &Migration) -> String {
    migration.objects.files().values().cloned().collect()
}

#[test]
fn keys_of_the_chart_are_rendered_as_flags_and_keys_of_the_config_map() {
    let values = "
controller:
  allowSnippetAnnotations: true
  config: {annotations-risk-level: Critical}
  extraArgs: {enable-ssl-passthrough: \"\", disable-catch-all: \"\"}
  addHeaders: {X-Resp: yes1}
  scope: {enabled: true, namespace: shop}
tcp: {5432: \"shop/web:80\"}
";

    let migration = migrate(&[INGRESS_WITH_SNIPPET, values]);

    assert_eq!(migration.served.len(), 1);
    let output = written(&migration);
    assert!(output.contains("X-Resp"), "{output}");
    assert!(output.contains("X-A"), "{output}");
    assert!(output.contains("TCPRoute"), "{output}");
    for (setting, value) in [
        ("allow-snippet-annotations", "true"),
        ("--enable-ssl-passthrough", "true"),
        ("--disable-catch-all", "true"),
        ("--watch-namespace", "shop"),
        ("tcp-services 5432", "shop/web:80"),
    ] {
        let found = verdict(&migration, setting);
        assert_eq!(found.map(|one| &*one.value), Some(value), "{setting}");
    }
}

#[test]
fn the_class_of_the_chart_selects_the_ingresses() {
    let values = "
controller:
  ingressClassResource: {name: nginx, controllerValue: k8s.io/public}
";
    let other = values.replace("name: nginx", "name: public");

    assert_eq!(migrate(&[INGRESS, values]).served.len(), 1);
    let migration = migrate(&[INGRESS, &other, "
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: nginx}, spec: {controller: k8s.io/ingress-nginx}}
"]);
    assert_eq!(migration.served.len(), 0);
}

#[test]
fn the_default_backend_of_the_chart_needs_a_decision() {
    let values = "
controller: {config: {}}
defaultBackend: {enabled: true}
";

    let migration = migrate(&[INGRESS, values]);

    let found = verdict(&migration, "defaultBackend").expect("a verdict");
    assert_eq!(found.outcome, MigrationOutcome::NeedsADecision);
    assert_eq!(found.place.line, 3);
    let expected = "name: ingress-nginx-defaultbackend";
    assert!(
        written(&migration).contains(expected),
        "{}",
        written(&migration)
    );
}

#[test]
fn the_default_backend_of_a_release_serves_the_hosts_without_an_ingress() {
    let release = |name: &str, values: &str| {
        format!(
            "
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {{name: {name}, namespace: edge}}
spec:
  chart: {{spec: {{chart: ingress-nginx}}}}
  values: {{controller: {{config: {{}}}}, defaultBackend: {{enabled: true{values}}}}}
"
        )
    };
    for (name, values, service) in [
        ("ingress-nginx", "", "ingress-nginx-defaultbackend"),
        ("web", ", name: pages", "web-ingress-nginx-pages"),
    ] {
        let migration = migrate(&[INGRESS, &release(name, values)]);

        assert!(verdict(&migration, "defaultBackend").is_none());
        let found = verdict(&migration, "--default-backend-service").expect("a verdict");
        assert_eq!(found.value, format!("edge/{service}"));
        let routes = &migration.objects.files()["edge.yaml"];
        assert!(routes.contains(&format!("name: {service}")), "{routes}");
    }
}

#[test]
fn the_scope_of_the_chart_selects_the_namespace() {
    let values = |scope: &str| format!("controller: {{config: {{}}, scope: {{{scope}}}}}\n");
    for (scope, served, outcome) in [
        (
            "enabled: true, namespace: shop",
            1,
            Some(MigrationOutcome::Same),
        ),
        (
            "enabled: true, namespace: blog",
            0,
            Some(MigrationOutcome::Same),
        ),
        ("enabled: false, namespace: blog", 1, None),
    ] {
        let migration = migrate(&[INGRESS, &values(scope)]);

        assert_eq!(migration.served.len(), served, "{scope}");
        let found = verdict(&migration, "--watch-namespace").map(|one| one.outcome);
        assert_eq!(found, outcome, "{scope}");
    }
    let unknown = migrate(&[INGRESS, &values("enabled: true, namespace: ''")]);
    let found = verdict(&unknown, "scope").map(|one| one.outcome);
    assert_eq!(
        (unknown.served.len(), found),
        (1, Some(MigrationOutcome::NeedsADecision))
    );
}

#[test]
fn values_in_other_charts_and_objects_are_read() {
    let guard = "controller: {config: {whitelist-source-range: 10.9.0.0/16}}";
    for text in [
        guard.to_owned(),
        format!("ingress-nginx:\n  {guard}\n"),
        format!(
            "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {{name: edge, namespace: infra}}\nspec:\n  chart: {{spec: {{chart: ingress-nginx}}}}\n  values:\n    {guard}\n"
        ),
        format!(
            "apiVersion: helm.cattle.io/v1\nkind: HelmChartConfig\nmetadata: {{name: rke2-ingress-nginx, namespace: kube-system}}\nspec:\n  valuesContent: |-\n    {guard}\n"
        ),
        format!(
            "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {{name: edge, namespace: argocd}}\nspec:\n  source:\n    chart: ingress-nginx\n    helm:\n      values: |\n        {guard}\n"
        ),
        format!(
            "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {{name: edge, namespace: argocd}}\nspec:\n  sources:\n  - chart: ingress-nginx\n    helm:\n      valuesObject:\n        {guard}\n"
        ),
    ] {
        let migration = migrate(&[INGRESS, &text]);

        assert!(written(&migration).contains("10.9.0.0/16"), "{text}");
        let found = verdict(&migration, "whitelist-source-range").expect("a verdict");
        let line = text.lines().position(|line| line.contains("10.9.0.0/16"));
        assert_eq!(Some(found.place.line), line.map(|line| line + 1), "{text}");
    }
}

#[test]
fn values_of_a_second_file_keep_the_keys_of_the_first() {
    let first = "controller: {config: {whitelist-source-range: 10.9.0.0/16, use-gzip: 'true'}}";
    let second = "controller: {config: {use-gzip: 'false'}}";

    let migration = migrate(&[INGRESS, first, second]);

    assert!(written(&migration).contains("10.9.0.0/16"));
    let found = verdict(&migration, "use-gzip").expect("a verdict");
    assert_eq!(found.value, "false");
    assert_eq!(found.place.file, "1.yaml and 2.yaml");
}

#[test]
fn values_that_are_not_among_the_files_are_a_warning_that_names_the_object() {
    for text in [
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: ingress-nginx, namespace: infra}\nspec:\n  valuesFrom: [{kind: ConfigMap, name: values}]\n",
        "apiVersion: helm.cattle.io/v1\nkind: HelmChart\nmetadata: {name: ingress-nginx, namespace: infra}\nspec: {valuesContent: 'a: [b'}\n",
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: ingress-nginx, namespace: infra}\nspec: {source: {helm: {parameters: [{name: controller.config.whitelist-source-range, value: 10.0.0.0/8}]}}}\n",
    ] {
        let manifests = read(&[INGRESS, text]);

        let migration = translate(&manifests, &MigrateOptions::default());

        let found = findings(&manifests, &migration, "nginx");
        assert_eq!(found.len(), 1, "{found:?}");
        let object = found[0].object.as_ref().map(|key| key.to_string());
        assert_eq!(object.as_deref(), Some("infra/ingress-nginx"), "{found:?}");
    }
}

#[test]
fn values_of_other_charts_are_ignored() {
    for text in [
        "controller: {replicas: 2, resources: {}}",
        "argo-cd: {controller: {config: {whitelist-source-range: 10.0.0.0/8}}}",
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: metallb, namespace: infra}\nspec: {values: {controller: {scope: {}}}, valuesFrom: []}\n",
    ] {
        let manifests = read(&[INGRESS, text]);

        assert_eq!(manifests.controllers, [], "{text}");
        assert_eq!(manifests.helm_config, None, "{text}");
        assert_eq!(manifests.unread, [], "{text}");
    }
}

/// A ConfigMap that restricts access on every host.
fn settings(name: &str, labels: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}, namespace: edge, labels: {{{labels}}}}}, data: {{whitelist-source-range: 10.9.0.0/16}}}}\n"
    )
}

#[test]
fn a_config_map_of_older_manifests_is_read_if_it_is_the_only_one() {
    for (name, labels) in [
        ("nginx-configuration", ""),
        ("edge", "app.kubernetes.io/name: ingress-nginx"),
        ("edge-ingress-nginx-controller", ""),
    ] {
        let migration = migrate(&[INGRESS, &settings(name, labels)]);

        assert!(written(&migration).contains("10.9.0.0/16"), "{name}");
    }
}

#[test]
fn a_config_map_with_restrictions_that_is_not_read_is_named() {
    let other = settings("other", "");
    let used = settings("nginx-configuration", "");
    for (texts, outcome) in [
        (vec![INGRESS, &other], MigrationOutcome::Impossible),
        (
            vec![INGRESS, &other, &used],
            MigrationOutcome::NeedsADecision,
        ),
    ] {
        let migration = migrate(&texts);

        let mut verdicts = migration.verdicts.iter();
        let found = verdicts.find(|one| one.object == "ConfigMap edge/other");
        assert_eq!(found.map(|one| one.outcome), Some(outcome));
    }
}

/// A Deployment of the controller.
fn deployment(name: &str, args: &str) -> String {
    format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}, namespace: edge}}, spec: {{template: {{spec: {{containers: [{{image: registry.k8s.io/ingress-nginx/controller:v1.15.1, args: [{args}]}}]}}}}}}}}\n"
    )
}

#[test]
fn the_namespace_of_the_controller_is_resolved_in_every_flag() {
    let controller = deployment("c", "--tcp-services-configmap=$(POD_NAMESPACE)/tcp");
    let tcp = "{apiVersion: v1, kind: ConfigMap, metadata: {name: tcp, namespace: edge}, data: {'5432': 'shop/web:80'}}";

    let migration = migrate(&[INGRESS, &controller, tcp]);

    assert!(written(&migration).contains("TCPRoute"));
    assert!(verdict(&migration, "tcp-services 5432").is_some());
}

#[test]
fn the_settings_of_the_controller_of_the_class_are_used() {
    let texts = [
        INGRESS.to_owned(),
        deployment("public", "--configmap=edge/public"),
        deployment(
            "internal",
            "--configmap=edge/internal, --controller-class=k8s.io/internal, --ingress-class=internal",
        ),
        settings("public", "").replace("10.9", "10.1"),
        settings("internal", "").replace("10.9", "10.2"),
    ];
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let manifests = read(&texts);
    let options = MigrateOptions {
        flags: vec!["ingress-class=nginx".to_owned()],
        ..MigrateOptions::default()
    };

    let chosen = translate(&manifests, &options);
    let combined = translate(&manifests, &MigrateOptions::default());

    let output = written(&chosen);
    assert!(output.contains("10.1.0.0/16") && !output.contains("10.2.0.0/16"));
    assert!(verdict(&chosen, "controllers").is_none());
    let found = verdict(&combined, "controllers").expect("a verdict");
    assert_eq!(found.outcome, MigrationOutcome::NeedsADecision);
    assert!(found.text.contains("edge/public") && found.text.contains("edge/internal"));
}

#[test]
fn an_ingress_of_a_removed_version_is_an_error_that_names_the_version() {
    for version in ["extensions/v1beta1", "networking.k8s.io/v1beta1"] {
        let manifests = read(&[&INGRESS.replace("networking.k8s.io/v1", version)]);

        assert_eq!(manifests.ingresses, []);
        let message = &manifests.errors[0].message;
        assert!(
            message.contains(version) && message.contains("shop/web"),
            "{message}"
        );
    }
}

#[test]
fn a_certificate_in_secrets_of_two_namespaces_is_referenced_once() {
    let secret = |namespace: &str, content: &str| {
        format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: wildcard, namespace: {namespace}}}, stringData: {{tls.crt: '-----BEGIN {content}', tls.key: '-----BEGIN'}}}}\n"
        )
    };
    let ingress = |namespace: &str| {
        INGRESS
            .replace("namespace: shop", &format!("namespace: {namespace}"))
            .replace("a.test", &format!("{namespace}.test"))
            + &format!("  tls: [{{hosts: [{namespace}.test], secretName: wildcard}}]\n")
    };
    for (second, expected) in [("one", 1), ("two", 2)] {
        let migration = migrate(&[
            &ingress("a"),
            &ingress("b"),
            &secret("a", "one"),
            &secret("b", second),
        ]);

        let mut objects = migration.objects.iter();
        let gateway = objects.find(|one| one.kind == "Gateway");
        let gateway = gateway.expect("a Gateway").value.to_string();
        let references = gateway.matches("\"name\":\"wildcard\"").count();
        assert_eq!(references, expected, "{gateway}");
    }
}

#[test]
fn a_snippet_for_the_authentication_server_has_no_effect_without_one() {
    let config = "{apiVersion: v1, kind: ConfigMap, metadata: {name: ingress-nginx-controller, namespace: ingress-nginx}, data: {allow-snippet-annotations: 'true', annotations-risk-level: Critical}}";
    let ingress = |annotations: &str| {
        INGRESS.replace(
            "namespace: shop}",
            &format!("namespace: shop, annotations: {{{annotations} nginx.ingress.kubernetes.io/auth-snippet: 'proxy_set_header A b;'}}}}"),
        )
    };
    for (annotations, outcome) in [
        ("", MigrationOutcome::Same),
        (
            "nginx.ingress.kubernetes.io/auth-url: 'http://auth.test/',",
            MigrationOutcome::Impossible,
        ),
    ] {
        let migration = migrate(&[&ingress(annotations), config]);

        let found = verdict(&migration, "nginx.ingress.kubernetes.io/auth-snippet");
        assert_eq!(found.map(|one| one.outcome), Some(outcome));
    }
}
