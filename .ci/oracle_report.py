"""Compares the output of a replay with the table of intentional differences.

oracle_report.py REPLAY TABLE [--fresh | options of the replay]

With --fresh, it prints only the different cases that the table does not contain. A line `again CASE` in the replay
means that a second run of the case was equal to Envoy.
"""

import re
import sys

CASE = re.compile(r"\b(?:client-ip|framing|headers|path|proxy-protocol|routing|traffic)-\d{3}\b")

replay = open(sys.argv[1], encoding="utf-8").read()
listed = set(CASE.findall(open(sys.argv[2], encoding="utf-8").read()))
same = sum(int(n) for n in re.findall(r"^\S+ +(\d+) same", replay, re.M))
different = {line.split()[0] for line in replay.splitlines() if CASE.match(line)}
again = set(re.findall(r"^again (\S+)", replay, re.M))
same += len(again)
different -= again
if sys.argv[3:] == ["--fresh"]:
    print(*sorted(different - listed), sep="\n")
    sys.exit(0)

for block in re.split(r"\n(?=\S)", replay):
    if CASE.match(block) and block.split()[0] not in listed | again:
        print(block)
fresh, stale = different - listed, listed - different
print(f"{same} answers as Envoy's, {len(different & listed)} deliberate differences, {len(fresh)} others")
if stale and len(sys.argv) == 3:  # With further options, only a part of the cases was replayed.
    print("listed as different, but the same:", ", ".join(sorted(stale)))
if not same:
    print("nothing was replayed")
print(f"{same + len(different & listed)} passed, {len(fresh)} failed")
sys.exit(1 if fresh or not same else 0)
