"""Judges what a scanner of TLS found, and fails at any finding that is not accepted here.

tls_report.py testssl|sslyze FINDINGS.json OUTPUT.txt
"""

import json
import re
import sys

ACCEPTED = {
    "testssl": {
        "cert_chain_of_trust": "the certificate is signed by itself",
        "cert_revocation": "so nobody could revoke it",
        "engine_problem": "the scanner's own openssl lacks GOST, which no suite of ours uses",
        "cipher_order": "the client chooses: every suite is AEAD with forward secrecy",
    },
    "sslyze": {"certificate_path_validation": "the certificate is signed by itself"},
}
# What must be among the checks, so that a scan that looked at nothing does not pass.
EXPECTED = {"SSLv3", "TLS1", "TLS1_2", "TLS1_3", "cert_trust", "heartbleed", "ROBOT", "LUCKY13"}


def testssl(findings, _output):
    """Checks that were made, and those that found something: name and what."""
    made = {each["id"] for each in findings}
    if missing := EXPECTED - made:
        sys.exit(f"testssl.sh did not check {sorted(missing)}")
    bad = [each for each in findings if each["severity"] not in ("OK", "INFO", "DEBUG")]
    return len(made), {each["id"]: f'{each["severity"]}: {each["finding"]}' for each in bad}


def sslyze(findings, output):
    """The same for sslyze, which only prints how a server differs from Mozilla's recommendation."""
    results = [each["scan_result"] for each in findings["server_scan_results"]]
    if not results or not all(results):
        sys.exit("sslyze did not reach the listener")
    checks = [check for result in results for check in result.values()]
    if failed := [check for check in checks if check["status"] == "ERROR"]:
        sys.exit(f"sslyze could not finish: {failed}")
    made = sum(check["status"] == "COMPLETED" for check in checks)
    verdict = re.search(r"(?:OK - Compliant|FAILED - Not compliant)\.(.*)", output, re.S)
    if not verdict or not made:
        sys.exit("sslyze gave no verdict")
    return made, dict(re.findall(r"^\s+\* (\w+): (.*)$", verdict[1], re.M))


scanner, findings, output = sys.argv[1], *(open(path, encoding="utf-8").read() for path in sys.argv[2:])
made, found = {"testssl": testssl, "sslyze": sslyze}[scanner](json.loads(findings), output)
accepted = ACCEPTED[scanner]
for name in sorted(found):
    print(f"{scanner}: {name}: {found[name]} ({accepted.get(name, 'NOT ACCEPTED')})")
bad = found.keys() - accepted.keys()
print(f"{scanner}: {made} checks, {len(bad)} findings, {len(found) - len(bad)} more accepted")
sys.exit(bool(bad))
