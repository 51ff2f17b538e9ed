#!/usr/bin/env python3
"""Memory and CPU of the gateway per additional route, certificate, idle connection and change.

    gateway-bin/benches/scale.py target/dist/towergate [--routes 1000,10000] [--certificates 100,1000]

Debian packages: nginx (the backend), openssl, python3. A route is a rule with its own path; ten of them are one
HTTPRoute, with its own host, Service, EndpointSlice and file. A certificate is one listener of one
ListenerSet, with its own host and Secret. Memory is the proportional set size of the idle gateway. CPU is the
time of all threads. Prints Markdown, and slopes by least squares.
"""

import argparse
import contextlib
import http.client
import os
import random
import socket
import ssl
import statistics
import time

from compare import table
from peers import SERVICE, Lab, Towergate, by_host, cpu, hold, memory, replace, routes, secret, status, wait_for

LISTENER = """
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {{name: {name}}}
spec:
  parentRef: {{name: plain}}
  listeners:
  - {{name: https, port: {port}, protocol: HTTPS, hostname: {name}.example, tls: {{certificateRefs: [{{name: {name}}}]}}}}
---
"""
CHANGES = 1000 / 60  # per second


class Scaled(Towergate):
    """The gateway with a backend for each host, and with additional listeners."""

    certificates = ()

    def prepare(self, pairs):
        command = super().prepare(pairs)
        for host in by_host(pairs or []):
            name = host.split(".")[0]
            replace(self.manifests / f"backend-{name}.yaml", SERVICE.format(name=name, port=self.lab.backend))
        for name, paths in self.certificates:
            replace(self.manifests / f"listener-{name}.yaml",
                    LISTENER.format(name=name, port=self.tls) + secret(name, *paths))
        gateways = self.manifests / "gateways.yaml"
        replace(gateways, gateways.read_text().replace(
            "  gatewayClassName: eg\n  listeners:",
            "  gatewayClassName: eg\n  allowedListeners: {namespaces: {from: Same}}\n  listeners:"))
        return command

    def write_route(self, host, paths, service=None):
        super().write_route(host, paths, service or host.split(".")[0] or "up")


@contextlib.contextmanager
def serving(lab, binary, name, pairs=None, certificates=()):
    """A running gateway, and the CPU time in seconds until it served."""
    peer = Scaled(lab, "towergate", binary, name)
    peer.certificates = certificates
    peer.start(pairs)
    try:
        yield peer, cpu(peer.process.pid)
    finally:
        peer.end()


def slope(points):
    """The increase per unit, by least squares."""
    middle_x, middle_y = (statistics.mean(values) for values in zip(*points))
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / sum((x - middle_x) ** 2 for x, _ in points)


def change(peer, host, paths):
    """Adds a rule to an HTTPRoute. Returns the seconds until it is served, and the CPU time in milliseconds."""
    used, start = cpu(peer.process.pid), time.monotonic()
    peer.write_route(host, paths)
    wait_for(lambda: status(peer.http, host, paths[-1]) == 200, 60, "a change is not served")
    took = time.monotonic() - start
    time.sleep(1.5)
    return took, (cpu(peer.process.pid) - used) * 1e3


def ask_each(peer, pairs):
    one = http.client.HTTPConnection("127.0.0.1", peer.http, timeout=10)
    for host, path in pairs:
        one.request("GET", path, headers={"Host": host})
        answer = one.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"{host}{path} is not served")
    one.close()


def storm(peer, pairs, seconds):
    """Makes 1000 changes per minute. Returns the share of a CPU, and the seconds until the last is served."""
    hosts = by_host(pairs)
    used, start, number = cpu(peer.process.pid), time.monotonic(), 0
    while time.monotonic() < start + seconds:
        host = random.choice(list(hosts))
        path = f"/storm{number}/"
        peer.write_route(host, [*hosts[host], path])
        number += 1
        time.sleep(max(0.0, start + number / CHANGES - time.monotonic()))
    last = time.monotonic()
    wait_for(lambda: status(peer.http, host, path) == 200, 60, "the last change is not served")
    end = time.monotonic()
    return (cpu(peer.process.pid) - used) / (end - start), end - last, number


def measure_routes(lab, binary, counts):
    rows = []
    for count in counts:
        pairs = routes(count)
        with serving(lab, binary, f"routes-{count}", pairs) as (peer, started):
            time.sleep(4)
            before = memory(peer.process.pid)
            ask_each(peer, pairs)
            time.sleep(4)
            asked = memory(peer.process.pid)
            hosts = list(by_host(pairs).items())
            changes = [change(peer, host, [*paths, f"/new{number}/"]) for number, (host, paths) in enumerate(hosts[:7])]
            share, late, number = storm(peer, pairs, 20)
            time.sleep(4)
            rows.append({"count": count, "start_cpu_s": started, "kib": before, "asked_kib": asked,
                         "change_s": statistics.median(took for took, _ in changes[1:]),
                         "change_cpu_ms": statistics.median(used for _, used in changes[1:]),
                         "storm": share, "storm_late_s": late, "storm_kib": memory(peer.process.pid)})
    return rows


def measure_certificates(lab, binary, counts):
    made = []
    for number in range(max(counts)):
        name = f"c{number}"
        made.append((name, lab.make_certificate(name, f"{name}.example")))
    rows = []
    for count in counts:
        with serving(lab, binary, f"certificates-{count}", None, made[:count]) as (peer, started):
            name, (certificate, _) = made[count - 1]
            trust = ssl.create_default_context(cafile=certificate)
            with socket.create_connection(("127.0.0.1", peer.tls), 10) as one:
                trust.wrap_socket(one, server_hostname=f"{name}.example").close()  # fails with any other certificate
            time.sleep(4)
            rows.append({"count": count, "start_cpu_s": started, "kib": memory(peer.process.pid)})
    return rows


def measure_idle(lab, binary, counts, trust):
    rows = []
    with serving(lab, binary, "idle-tls" if trust else "idle") as (peer, _), contextlib.ExitStack() as stack:
        held = 0
        for count in counts:
            hold(stack, peer.tls if trust else peer.http, count - held, trust)
            held = count
            time.sleep(6)
            rows.append({"count": count, "kib": memory(peer.process.pid)})
    return rows


NAMES = {"plain": "idle connections", "tls": "idle connections with TLS"}


def per_thousand(rows, key):
    return f"{1000 * slope([(row['count'], row[key]) for row in rows]):.1f}"


def print_routes(rows):
    head = ["routes", "CPU until served, s", "memory, MiB", "after a request to each", "a change serves after, ms",
            "its CPU, ms", "1000 changes a minute, CPU", "the last serves after, ms", "memory after them, MiB"]
    mib = ("kib", "asked_kib")
    print(table(head, [
        [str(row["count"]), f"{row['start_cpu_s']:.2f}", *(f"{row[key] / 1024:.1f}" for key in mib),
         f"{row['change_s'] * 1e3:.0f}", f"{row['change_cpu_ms']:.1f}", f"{row['storm']:.0%}",
         f"{row['storm_late_s'] * 1e3:.0f}", f"{row['storm_kib'] / 1024:.1f}"] for row in rows]))
    print(f"1000 routes more: {per_thousand(rows, 'kib')} KiB, after requests {per_thousand(rows, 'asked_kib')} KiB, "
          f"after changes {per_thousand(rows, 'storm_kib')} KiB; {per_thousand(rows, 'start_cpu_s')} s of CPU at start; "
          f"{per_thousand(rows, 'change_cpu_ms')} ms for a change\n", flush=True)


def print_memory(name, rows):
    print(table([NAMES.get(name, name), "memory, MiB"], [[str(row["count"]), f"{row['kib'] / 1024:.1f}"] for row in rows]))
    print(f"1000 more: {per_thousand(rows, 'kib')} KiB\n", flush=True)


def numbers(words):
    found = sorted({int(word) for word in words.split(",") if word})
    if len(found) == 1:
        raise argparse.ArgumentTypeError("a slope requires at least two numbers")
    return found


def main():
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--routes", type=numbers, default="1000,5000,10000", help="default: %(default)s; empty: none")
    parser.add_argument("--certificates", type=numbers, default="100,500,1000", help="default: %(default)s; empty: none")
    parser.add_argument("--idle", type=numbers, default="500,1000,2000", help="default: %(default)s; empty: none")
    args = parser.parse_args()
    binary = os.path.abspath(args.binary)
    with Lab() as lab:
        lab.start_backend()
        if args.routes:
            print_routes(measure_routes(lab, binary, args.routes))
        if args.certificates:
            print_memory("certificates", measure_certificates(lab, binary, args.certificates))
        if args.idle:
            print_memory("plain", measure_idle(lab, binary, args.idle, None))
            trust = ssl.create_default_context(cafile=lab.certificate)
            print_memory("tls", measure_idle(lab, binary, args.idle, trust))


if __name__ == "__main__":
    main()
