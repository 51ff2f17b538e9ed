"""Checks the rendered chart with each documented value set to null, and with other typical values.

A value is documented if values.yaml contains it. With the value set to null, the chart must render valid objects
without empty fields, or fail with an error that names the value. The data plane's options must not contain null or an
empty number.
"""

import json
import os
import subprocess
import sys

import yaml

CHART = sys.argv[1]
HELM = os.environ["HELM"]


def leaves(value, path=()):
    """Paths of all values below `value`, including objects."""
    if path:
        yield ".".join(path)
    if isinstance(value, dict):
        for key, below in value.items():
            yield from leaves(below, (*path, key))


def render(*options):
    """The rendered documents and an empty text, or None and the error."""
    command = [HELM, "template", "towergate", CHART, "--namespace", "edge", "--kube-version", "1.33", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return None, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document], ""


def data_plane(documents):
    """The options of data planes."""
    for document in documents:
        if document["kind"] == "ConfigMap":
            return json.loads(document["data"]["data-plane.json"])
    return None


def container(documents):
    """The container of the controller."""
    deployment = next(document for document in documents if document["kind"] == "Deployment")
    return deployment["spec"]["template"]["spec"]["containers"][0]


def problems_of(path):
    """Problems of the chart if the value at `path` is null."""
    documents, error = render("--set", f"{path}=null")
    last = path.rsplit(".", 1)[-1]
    if documents is None:
        return [] if last in error and "nil pointer" not in error else [f"not refused by name: {error.strip()}"]
    plane = data_plane(documents)
    problems = []
    if plane is None:
        return ["no data-plane.json"]
    for key, value in plane.items():
        if value is None or (value == "" and key != "priorityClassName"):
            problems.append(f"data-plane.json has {key}: {value!r}")
    if not isinstance(plane.get("replicas", 1), int):
        problems.append(f"replicas is {plane['replicas']!r}")
    own = container(documents)
    if any(argument.endswith("=") for argument in own["args"]):
        problems.append(f"empty argument: {own['args']}")
    if own["image"].startswith(":") or own["image"].endswith(":"):
        problems.append(f"image {own['image']!r}")
    text = yaml.safe_dump_all(documents)
    if "<nil>" in text or "<no value>" in text:
        problems.append("a value is written as nil")
    return problems


def main():
    with open(os.path.join(CHART, "values.yaml"), encoding="utf-8") as file:
        values = yaml.safe_load(file)
    paths = list(leaves(values))
    failures = [f"{path}=null: {problem}" for path in paths for problem in problems_of(path)]
    refused = [
        ("dataPlane.replica=2", "replica"),
        ("dataPlane.replicas=many", "replicas"),
        ("mode=other", "mode"),
        ("dataPlane.service.type=ExternalName", "type"),
        ("controller.image.digest=latest", "digest"),
        ("rateLimit.timeout=50ms", "rateLimit.service"),
    ]
    for option, name in refused:
        documents, error = render("--set", option)
        if documents is not None or name not in error:
            failures.append(f"{option}: not refused by name: {error.strip()}")
    accepted = [
        ("serviceMonitor.enabled=true,serviceMonitor.interval=30s,serviceMonitor.labels.release=prometheus", "ServiceMonitor"),
        ("networkPolicy.enabled=true,networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.a=b", "NetworkPolicy"),
        ("gatewayClass.parametersRef.name=edge,gatewayClass.parametersRef.namespace=edge", "GatewayClass"),
    ]
    for option, kind in accepted:
        documents, error = render("--set", option)
        found = [document for document in documents or [] if document["kind"] == kind]
        if len(found) != 1:
            failures.append(f"{option}: no {kind}: {error.strip()}")
    database = "geoip.databases={/geoip/City.mmdb,/geoip/ASN.mmdb}"
    documents, error = render("--set", database)
    named = [argument for argument in container(documents)["args"] if "geoip" in argument] if documents else error
    if named != ["--geoip-database=/geoip/City.mmdb", "--geoip-database=/geoip/ASN.mmdb"]:
        failures.append(f"{database}: {named}")
    limits = "rateLimit.service=limits.limits.svc:8081,rateLimit.timeout=50ms,rateLimit.failClosed=true"
    documents, error = render("--set", limits)
    named = [argument for argument in container(documents)["args"] if "rate-limit" in argument] if documents else error
    if named != ["--rate-limit-service=limits.limits.svc:8081", "--rate-limit-timeout=50ms", "--rate-limit-fail-closed"]:
        failures.append(f"{limits}: {named}")
    for failure in failures:
        print(failure)
    print(f"chart: {len(paths)} values as null, {len(refused)} refused, {len(accepted)} optional objects")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
