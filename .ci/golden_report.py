"""Compares the score of the statuses (standard input) with the list of cases that must be equal (FLOOR).

golden_report.py CASES FLOOR [--raise]
"""

import json
import pathlib
import sys

folder, floor = map(pathlib.Path, sys.argv[1:3])
score = sys.stdin.read()
cases = {case.parent.name for case in folder.glob("*/expect.json") if not json.loads(case.read_text())["foreign"]}
parts = dict(block.split(" ", 1) for block in score.split("\n- ")[1:])
whole = cases - parts.keys()
print("\n".join(score.splitlines()[:2]))
if not score.startswith("cases ") or len(whole) != int(score.split()[1].split("/")[0]):
    sys.exit("standard input is not a score")

if sys.argv[3:] == ["--raise"]:
    floor.write_text("".join(f"{case}\n" for case in sorted(whole)))
wanted = set(floor.read_text().split())
lost = sorted(wanted - whole)
for case in lost:
    print(f"- {case} {parts.get(case, 'no longer exists')}")
if fresh := sorted(whole - wanted):
    print(f"{len(fresh)} more agree (.ci/golden --raise adds them to the floor):", *fresh)
print(f"{len(wanted) - len(lost)} cases agree with Envoy Gateway, {len(lost)} lost")
sys.exit(bool(lost))
