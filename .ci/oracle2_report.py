"""Compares a gateway with recordings of an Envoy that Envoy Gateway configured, and the result with FLOOR.

oracle2_report.py BINARY RECORDINGS FLOOR DIFFERENCES [--raise]

Compared are the responses to requests, the statuses of all objects of a world (type, status and reason of each
condition), and whether the API server rejects single objects. FLOOR lists the comparisons that must be equal:
cases by their id, statuses as `status WORLD KIND/NAMESPACE/NAME`, single objects as `object N`.
"""

import collections
import concurrent.futures
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

binary = pathlib.Path(sys.argv[1]).resolve()
recordings, floor, differences = (pathlib.Path(path).resolve() for path in sys.argv[2:5])
COMMAND = (f"{binary} run {{world}} --access-log {{log}} --quiet --parity strict-host,external-address,cors"
           " --rate-limit-service 127.0.0.1:19515 --rate-limit-timeout 500ms --dynamic-resolver")
# The world that is recorded with a gateway that rejects requests while the rate limit service fails.
CLOSED = "rate-limit-closed"


def supported_command():
    """The command, without options that the binary does not support."""
    usage = subprocess.run([binary, "run", "--help"], capture_output=True, text=True).stdout
    return COMMAND if "--dynamic-resolver" in usage else COMMAND.replace(" --dynamic-resolver", "")


def replay(*options):
    """The report of each different case, by its id."""
    return replay_with(supported_command(), *options)


def replay_with(gateway, *options):
    command = [sys.executable, "oracle.py", "replay", "--cases", "given", "--command", gateway, *options]
    done = subprocess.run(command, cwd=recordings, capture_output=True, text=True)
    reports, current = {}, None
    for line in done.stdout.splitlines():
        if found := re.match(r"([a-z0-9-]+-\d+) \(", line):
            current = found[1]
            reports[current] = [line]
        elif line.startswith("    ") and current:
            reports[current].append(line)
        else:
            current = None
    return reports


def given():
    for path in sorted((recordings / "given").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            case = json.loads(line)
            yield case["id"], case["world"]


def conditions(listed):
    return sorted((c.get("type"), c.get("status"), c.get("reason")) for c in listed or [])


def shape(status):
    """The parts of a status that are compared, by name."""
    parts = {"": conditions(status.get("conditions"))}
    for listener in status.get("listeners") or []:
        kinds = sorted(kind["kind"] for kind in listener.get("supportedKinds") or [])
        parts["listener " + listener["name"]] = (conditions(listener.get("conditions")),
                                                 listener.get("attachedRoutes", 0), kinds)
    for group, reference in (("parents", "parentRef"), ("ancestors", "ancestorRef")):
        for entry in status.get(group) or []:
            ref = entry.get(reference) or {}
            key = "/".join((ref.get("kind") or "Gateway", ref.get("name") or "", ref.get("sectionName") or "",
                            str(ref.get("port") or "")))
            parts.setdefault(f"{group} {key}", []).append(conditions(entry.get("conditions")))
    return parts


def statuses(world):
    """Name, recorded status and status of the gateway for each object of a world."""
    recorded = recordings / "statuses" / f"{world}.yaml"
    service = ["--rate-limit-service", "127.0.0.1:19515"]
    service += [option for option in supported_command().split() if option == "--dynamic-resolver"]
    written = subprocess.run([binary, "status", *service, recordings / "worlds" / f"{world}.yaml"], capture_output=True, text=True)
    ours = {}
    for document in yaml.safe_load_all(written.stdout):
        if isinstance(document, dict) and document.get("kind"):
            meta = document.get("metadata") or {}
            key = (document["kind"], meta.get("namespace") or "", meta.get("name") or "")
            ours[key] = shape(document.get("status") or {})
    for document in yaml.safe_load_all(recorded.read_text()):
        if document and document.get("status"):
            key = (document["kind"], document.get("namespace") or "", document.get("name") or "")
            want, have = shape(document["status"]), ours.get(key, {})
            # Not compared: the conditions of a Gateway itself depend on a data plane, and the recorder ran without one.
            if document["kind"] == "Gateway":
                want.pop(""), have.pop("", None)
            yield "status " + world + " " + "/".join(key), want, have


WORLD = """apiVersion: v1
kind: Namespace
metadata: {name: try}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gateway, namespace: try}
spec:
  gatewayClassName: eg
  listeners:
  - {name: http, port: 21000, protocol: HTTP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: route, namespace: try}
spec:
  parentRefs: [{name: gateway}]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: try}
spec: {ports: [{port: 80}]}
---
"""
VERSIONS = {"BackendTLSPolicy": "gateway.networking.k8s.io/v1"}


def refused(number, entry):
    """Whether `towergate check` and the API server agree on accepting or rejecting an object."""
    manifest = {"apiVersion": VERSIONS.get(entry["kind"], "gateway.envoyproxy.io/v1alpha1"), "kind": entry["kind"],
                "metadata": {"name": "try", "namespace": "try"}, "spec": entry["spec"]}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "world.yaml")
        path.write_text(WORLD + yaml.safe_dump(manifest))
        done = subprocess.run([binary, "check", path, "--format", "json"], capture_output=True, text=True)
    invalid = "schema-violation" in done.stdout
    return invalid == entry["refused"]


def main():
    cases = dict(given())
    reports = {case: text for case, text in replay().items() if cases[case] != CLOSED}
    reports |= replay_with(f"{supported_command()} --rate-limit-fail-closed", "--world", CLOSED)
    wanted = set(floor.read_text().splitlines()) if floor.exists() else set()
    for case in sorted(wanted & reports.keys()):
        # A case that is equal in a second run differed because of timing only.
        if case not in replay("--only", case):
            print(f"{case}: as Envoy's on a second look")
            del reports[case]
    agree = {case for case in cases if case not in reports}
    by_world = collections.Counter(cases.values())
    same = collections.Counter(cases[case] for case in agree)
    documented = differences.read_text()
    for world, total in sorted(by_world.items()):
        print(f"{world:24} {same[world]:4} of {total:4}")
    unnamed = sorted(case for case in reports if not re.search(rf"\b{case}\b", documented))
    print(f"answers: {len(agree)} of {len(cases)} as recorded; {len(unnamed)} of the others are not in docs/differences.md:")
    print(*unnamed)

    right, total = set(), 0
    details = {}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda path: list(statuses(path.stem)), sorted((recordings / "statuses").glob("*.yaml"))):
            for name, want, have in found:
                total += 1
                if want == have:
                    right.add(name)
                else:
                    details[name] = (want, have)
    print(f"statuses: {len(right)} of {total} objects as recorded")
    entries = [json.loads(line) for line in (recordings / "refused-by-api.jsonl").read_text().splitlines()]
    objects = {f"object {number}" for number, entry in enumerate(entries) if refused(number, entry)}
    print(f"single objects: {len(objects)} of {len(entries)} refused or accepted as by the API")

    agree |= right | objects
    if sys.argv[5:] == ["--raise"]:
        floor.write_text("".join(f"{name}\n" for name in sorted(agree)))
        wanted = agree
    if sys.argv[5:] == ["--show"]:
        for name, (want, have) in sorted(details.items()):
            parts = sorted(part for part in want.keys() | have.keys() if want.get(part) != have.get(part))
            for part in parts:
                print(f"- {name} [{part}]\n    recorded {want.get(part)}\n    ours     {have.get(part)}")
        for number, entry in enumerate(entries):
            if f"object {number}" not in objects:
                print(f"- object {number}: {entry['kind']} refused={entry['refused']} {json.dumps(entry['spec'])[:200]}")
    lost = sorted(wanted - agree)
    for name in lost:
        print("\n".join(reports.get(name, [f"{name}: no longer as recorded"])))
    fresh = len(agree - wanted)
    if fresh:
        print(f"{fresh} more agree (.ci/oracle2 --raise adds them to the floor)")
    print(f"{len(wanted) - len(lost)} agree with the recordings, {len(lost)} lost")
    sys.exit(bool(lost))


main()
