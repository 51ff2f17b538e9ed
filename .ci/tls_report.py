"""Prints the findings of a TLS scanner, and fails if a finding is not in ACCEPTED.

tls_report.py testssl|sslyze FINDINGS.json OUTPUT.txt
"""

import json
import re
import sys

ACCEPTED = {
    "testssl": {
        "cert_chain_of_trust": "the certificate is self-signed",
        "cert_revocation": "a self-signed certificate cannot be revoked",
        "engine_problem": "the scanner's own openssl lacks GOST, which no supported suite uses",
        "cipher_order": "the client chooses: every suite is AEAD with forward secrecy",
    },
    "sslyze": {"certificate_path_validation": "the certificate is self-signed"},
}
# Checks that a scan must contain, so that an incomplete scan does not pass.
EXPECTED = {"SSLv3", "TLS1", "TLS1_2", "TLS1_3", "cert_trust", "heartbleed", "ROBOT", "LUCKY13"}


def testssl(findings, _output):
    """The number of completed checks, and the finding of each failed check by name."""
    made = {each["id"] for each in findings}
    if missing := EXPECTED - made:
        sys.exit(f"testssl.sh did not check {sorted(missing)}")
    bad = [each for each in findings if each["severity"] not in ("OK", "INFO", "DEBUG")]
    return len(made), {each["id"]: f'{each["severity"]}: {each["finding"]}' for each in bad}


def sslyze(findings, output):
    """The same for sslyze. Only its text output contains the differences from Mozilla's recommendation."""
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
