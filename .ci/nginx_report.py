"""Scores a replay of ingress-nginx's recorded responses.

A case that differs is named if a verdict of its world that is not `same` affects each part that differs.
"""

import collections
import fnmatch
import json
import os
import re
import sys

# The least share of equal cases, and of cases that are equal or named, in percent.
EQUAL_FLOOR = 75.5
NAMED_FLOOR = 100.0


def aspect(field):
    """The part of an exchange to which a difference of replay.py belongs."""
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


def tolerated(field, expected, found):
    """Whether two values mean the same although replay.py tells them apart."""
    # ingress-nginx sends a page with its own responses, the gateway mostly none.
    if field == "body.from":
        return (expected, found) == ("gateway", "none")
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(expected, str) or not isinstance(found, str):
        return False
    # The value of an affinity cookie is opaque.
    if "cookie" in field:
        return expected == re.sub(r'"?[0-9a-f]{16}"?', "<affinity>", found)
    # RFC 3986, section 6.2.3: an empty path is `/`.
    return field == "resp:location" and re.fullmatch(r"https?://[^/]+", expected) and found == expected + "/"


def main():
    cases, work, patterns = sys.argv[1], sys.argv[2], sys.argv[3:]
    families, total = {}, collections.Counter()
    for name in sorted(os.listdir(os.path.join(cases, "cases"))):
        with open(os.path.join(cases, "cases", name), encoding="utf-8") as lines:
            for case in map(json.loads, lines):
                if patterns and not any(fnmatch.fnmatch(case["world"], p) for p in patterns):
                    continue
                families[case["id"]] = case["family"]
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
                    verdicts = json.load(report)["verdicts"]
            except (OSError, ValueError):
                verdicts = []
            covered = {a for v in verdicts if v["outcome"] != "same" for a in v["affects"]}
            missing = {aspect(d[1]) for d in line["diffs"]} - covered
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
