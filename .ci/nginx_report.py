"""Scores a replay of ingress-nginx's recorded responses.

A different case is named if a verdict other than `same` describes each of its differences. The verdict must affect the
part of the exchange that differs, and be about an Ingress of the request's host, the ConfigMap, a flag, or a default
whose condition is true.
"""

import collections
import fnmatch
import json
import os
import re
import sys

import yaml

# Minimum share of equal cases, and of equal or named cases, in percent.
EQUAL_FLOOR = 85.0
NAMED_FLOOR = 100.0


def aspect(field):
    """The part of an exchange that contains a difference; `field` is its name in the output of replay.py."""
    if re.match(r"call\d+\.req", field):
        return "request-headers"
    if re.match(r"call\d+\.target", field):
        return "request-path"
    if field.startswith(("call", "trailer")):
        return "calls" if field.startswith("call") else "response-headers"
    if field.startswith("resp"):
        return "response-headers"
    if field.startswith(("body", "decoded")):
        return "body"
    if field.startswith("tls"):
        return "tls"
    return "status"


def header(request, name):
    """The first value of a request header field; empty if the field is absent."""
    values = (v for n, v in request.get("headers", []) if n.lower() == name)
    return next(values, "")


def host_of(request):
    """The host of a request, without its port."""
    return re.sub(r":\d+$", "", header(request, "host")).lower()


def is_error(status):
    """Whether a status is an error. None means that there is no response."""
    return status is None or status >= 400


# Conditions under which a default of ingress-nginx can cause a difference:
# (request, field, differences of the exchange by field) -> bool.
DEFAULTS = {
    "X-Forwarded-For": lambda request, field, found: "x-forwarded" in field or "x-original" in field,
    "redirects to HTTPS": lambda request, field, found: field == "resp:location",
    "error responses": lambda request, field, found: all(map(is_error, found.get("status", [0]))),
    "retries": lambda request, field, found: aspect(field) == "calls",
    "paths": lambda request, field, found: re.search(r"//|/\.|%|^[^/]", request.get("target") or "") is not None,
    "hosts": lambda request, field, found: request["scheme"] == "https"
    and request.get("sni", host_of(request)) != host_of(request)
    or re.search(r"[.@]$|@", header(request, "host")) is not None,
    "header fields": lambda request, field, found: field in ("resp:server", "resp:connection") or "." in field[9:],
    "protocols": lambda request, field, found: request.get("version") not in (None, "1.1", "2")
    or bool(header(request, "upgrade"))
    or request.get("method") in ("CONNECT", "TRACE", "FOO"),
    "TLS": lambda request, field, found: request["scheme"] == "https" and field.startswith(("tls", "failed")),
    "X-Accel fields": lambda request, field, found: "X-Accel" in header(request, "x-echo"),
    "health checks": lambda request, field, found: request.get("target") in ("/healthz", "/nginx_status"),
    "Strict-Transport-Security": lambda request, field, found: field == "resp:strict-transport-security",
}


def hosts_of_ingresses(manifest):
    """The hosts of each Ingress of a world, by the name of the object in verdicts. An empty host means every host."""
    hosts = {}
    with open(manifest, encoding="utf-8") as text:
        for document in yaml.safe_load_all(text):
            if not document or document.get("kind") != "Ingress":
                continue
            meta, spec = document["metadata"], document.get("spec") or {}
            names = {(rule.get("host") or "").lower() for rule in spec.get("rules") or []}
            if spec.get("defaultBackend"):
                names.add("")
            for key, value in (meta.get("annotations") or {}).items():
                if key.endswith("/server-alias"):
                    names.update(name.strip().lower() for name in str(value).split(","))
            hosts[f"Ingress {meta.get('namespace', 'default')}/{meta['name']}"] = names
    return hosts


def belongs(verdict, request, field, found, hosts):
    """Whether a verdict can describe a difference of a request."""
    if verdict["kind"] == "default":
        condition = DEFAULTS.get(verdict["setting"])
        return condition is None or condition(request, field, found)
    names = hosts.get(verdict["object"])
    host = host_of(request)
    if names is None or "" in names:
        return True
    other = host[4:] if host.startswith("www.") else "www." + host
    parent = host.partition(".")[2]
    return bool(names & {host, other}) or any(
        name.startswith("~") or name.startswith("*.") and ("." + parent).endswith(name[1:]) for name in names
    )


def attributes(cookie):
    """The value of a cookie and its attributes in a canonical order."""
    value, *rest = (part.strip() for part in cookie.split(";"))
    return value, sorted(rest)


def tolerated(field, expected, found):
    """Whether two values are equivalent although replay.py reports a difference."""
    # The local replies of ingress-nginx have a page as body; most local replies of the gateway have no body.
    if field == "body.from":
        return (expected, found) == ("gateway", "none")
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(expected, str) or not isinstance(found, str):
        return False
    # The value of an affinity cookie is opaque, and the order of its attributes has no meaning (RFC 6265, section 5.2).
    if "cookie" in field:
        return attributes(expected) == attributes(re.sub(r'"?[0-9a-f]{16}"?', "<affinity>", found))
    # RFC 3986, section 6.2.3: an empty path is `/`.
    return field == "resp:location" and re.fullmatch(r"https?://[^/]+", expected) and found == expected + "/"


def main():
    cases, work, patterns = sys.argv[1], sys.argv[2], sys.argv[3:]
    families, requests, total = {}, {}, collections.Counter()
    for name in sorted(os.listdir(os.path.join(cases, "cases"))):
        with open(os.path.join(cases, "cases", name), encoding="utf-8") as lines:
            for case in map(json.loads, lines):
                if patterns and not any(fnmatch.fnmatch(case["world"], p) for p in patterns):
                    continue
                families[case["id"]] = case["family"]
                requests[case["id"]] = [exchange["request"] for exchange in case["exchanges"]]
                total[case["family"]] += 1
    differing, named, unnamed = collections.Counter(), collections.Counter(), []
    with open(os.path.join(work, "differences.jsonl"), encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            family = families[line["case"]]
            line["diffs"] = [d for d in line["diffs"] if not tolerated(*d[1:])]
            if not line["diffs"]:
                continue
            differing[family] += 1
            try:
                with open(os.path.join(work, line["world"] + ".json"), encoding="utf-8") as report:
                    report = json.load(report)
                    verdicts = report["verdicts"] + report["defaults"]
            except (OSError, ValueError):
                verdicts = []
            verdicts = [v for v in verdicts if v["outcome"] != "same"]
            hosts = hosts_of_ingresses(os.path.join(cases, "worlds", line["world"] + ".yaml"))
            missing = set()
            for number, field, *_ in line["diffs"]:
                request = requests[line["case"]][number]
                part = aspect(field)
                found = {d[1]: d[2:] for d in line["diffs"] if d[0] == number}
                if not any(part in v["affects"] and belongs(v, request, field, found, hosts) for v in verdicts):
                    missing.add(part)
            if missing:
                unnamed.append((line["case"], sorted(missing)))
            else:
                named[family] += 1
    for family in sorted(total):
        equal = total[family] - differing[family]
        print(f"{family:18} {equal:3} equal, {named[family]:3} named of {total[family]:3}")
    for case, missing in unnamed:
        print(f"not named: {case}: {', '.join(missing)}")
    cases_total = sum(total.values())
    equal = 100 * (cases_total - sum(differing.values())) / cases_total
    known = 100 * (cases_total - len(unnamed)) / cases_total
    print(f"{equal:.1f} % equal, {known:.1f} % equal or named, of {cases_total}")
    if not patterns and (equal < EQUAL_FLOOR or known < NAMED_FLOOR):
        sys.exit(f"below the floor of {EQUAL_FLOOR} % and {NAMED_FLOOR} %")


if __name__ == "__main__":
    main()
