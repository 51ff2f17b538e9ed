#!/usr/bin/env python3
"""CPU, memory and latency of the gateway, nginx and HAProxy, measured on the same machine at the same time.

    gateway-bin/benches/compare.py target/dist/towergate [--quick]

Debian packages: nginx haproxy wrk nghttp2-client openssl python3 (nginx is also the backend). The measured gateway
runs alone on the first CPU; generators, backend and this script run on the others. Rounds are interleaved (A B C A B
C). The figure is the CPU time of all threads of a gateway's processes divided by the responses. It depends little on
the generator. Other work on the machine evicts caches; then only the ratios are meaningful. Only loopback is used, on
free ports, and all started processes are stopped. Prints Markdown; writes JSON for plot.py.
"""

import argparse
import contextlib
import gc
import json
import os
import pathlib
import platform
import re
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import time

from peers import HOST, Haproxy, Lab, Nginx, Sender, Towergate, busy, cpu, hold, memory, routes, status, wait_for

NEEDS = {"nginx": "nginx", "haproxy": "haproxy", "wrk": "wrk", "h2load": "nghttp2-client", "openssl": "openssl"}
PICK = """
local all = {}
function init(args)
  for line in io.lines(args[1]) do
    local host, path = line:match("(%S+) (%S+)")
    all[#all + 1] = wrk.format("GET", path, {Host = host})
  end
end
function request() return all[math.random(#all)] end
"""


def wrk(url, seconds, *more):
    """Number of responses, and number of unexpected ones."""
    command = ["wrk", "-t1", "-c64", f"-d{seconds}s", "--timeout", "10s", *more[:2], url, *more[2:]]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    answers = int(re.search(r"(\d+) requests in", out)[1])
    bad = [int(count) for count in re.findall(r"(?:Non-2xx or 3xx responses:|connect|read|write|timeout) (\d+)", out)]
    return answers, sum(bad)


def h2load(url, seconds, *more):
    command = ["h2load", "-t1", "-c16", "-m32", "-D", seconds, *more, url]
    out = subprocess.run(map(str, command), capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    done, good = re.search(r"(\d+) done, (\d+) succeeded", out).groups()
    return int(good), int(done) - int(good)


@contextlib.contextmanager
def straight(lab, peer):
    yield peer


@contextlib.contextmanager
def sender(lab, peer):
    one = Sender(lab, peer)
    yield one
    one.end()


CLOSE = ["-H", "Connection: close"]
# By name: title, the proxy in front of the gateway, and the load.
LOADS = {
    "plain": ("HTTP/1.1, keep-alive", straight, lambda p, s: wrk(f"http://127.0.0.1:{p.http}/", s)),
    "tls": ("HTTP/1.1 over TLS, keep-alive", straight, lambda p, s: wrk(f"https://127.0.0.1:{p.tls}/", s)),
    "h2": ("HTTP/2 over TLS, 16 x 32 streams", straight, lambda p, s: h2load(f"https://127.0.0.1:{p.tls}/", s)),
    "handshake": ("TLS, new connections", straight,
                  lambda p, s: wrk(f"https://127.0.0.1:{p.tls}/", s, *CLOSE)),
    "proxy": ("PROXY v2, keep-alive", sender, lambda p, s: wrk(f"http://127.0.0.1:{p.port}/", s)),
    "proxy-new": ("PROXY v2, new connections", sender,
                  lambda p, s: wrk(f"http://127.0.0.1:{p.port}/", s, *CLOSE)),
    "large": ("64 KiB bodies", straight, lambda p, s: wrk(f"http://127.0.0.1:{p.http}/64k", s)),
}


def measure(lab, peer, load, seconds):
    """One round of one gateway. None if there was no response, because the machine was busy."""
    start, used, all_used = time.monotonic(), cpu(peer.process.pid), busy(lab.front)
    answers, bad = load(peer, seconds)
    took, used = time.monotonic() - start, cpu(peer.process.pid) - used
    if not answers:
        print(f"{peer.name} sent no response in {took:.1f} s; this round does not count", file=sys.stderr)
        return None
    if bad:
        print(f"{peer.name}: {bad} of {answers} responses were unexpected", file=sys.stderr)
    others = max(0.0, busy(lab.front) - all_used - used) / took
    return {"cpu_us": used * 1e6 / answers, "per_s": answers / took, "bad": bad, "others": others}


def collect(rows, name, result):
    for key, value in result.items():
        rows.setdefault(name, {}).setdefault(key, []).append(value)


def measure_loads(lab, peers, args, wanted, results):
    with running(peers):
        for name in wanted:
            title, front, load = LOADS[name]
            rows = results[name] = {"title": title, "peers": {}}
            with contextlib.ExitStack() as stack:
                fronts = {peer: stack.enter_context(front(lab, peer)) for peer in peers}
                for number in range(args.rounds + args.warm):
                    for peer in peers:
                        warm = number < args.warm
                        result = measure(lab, peer, lambda _, s: load(fronts[peer], s), 1 if warm else args.secs)
                        if result and not warm:
                            collect(rows["peers"], peer.name, result)
            print(f"{title}: " + ", ".join(f"{peer} {spread(row['cpu_us'])}" for peer, row in rows["peers"].items()),
                  file=sys.stderr)


@contextlib.contextmanager
def running(peers, pairs=None):
    started = []
    try:
        for peer in peers:
            peer.start(pairs)
            started.append(peer)
        yield
    finally:
        for peer in started:
            peer.end()


def measure_routes(lab, peers, few, args):
    """Compares gateways with one route (`few`) and with many (`peers`). Then adds a host three times."""
    script, rows = lab.folder / "pick.lua", {}
    script.write_text(PICK)
    many = routes(args.routes)
    lists = {}
    for pairs in (many[:1], many):
        lists[len(pairs)] = lab.folder / f"routes-{len(pairs)}"
        lists[len(pairs)].write_text("".join(f"{host} {path}item\n" for host, path in pairs))

    def load(count):
        return lambda p, s: wrk(f"http://127.0.0.1:{p.http}/", s, "-s", script, "--", lists[count])

    with running(few, many[:1]), running(peers, many):
        time.sleep(2)
        for peer in peers:
            collect(rows, peer.name, {"memory_kib": memory(peer.process.pid)})
        for number in range(args.rounds + args.warm):
            for one, peer in zip(few, peers):
                warm = number < args.warm
                seconds = 1 if warm else args.secs
                first, second = measure(lab, one, load(1), seconds), measure(lab, peer, load(len(many)), seconds)
                if first and second and not warm:
                    collect(rows, peer.name, {"one_cpu_us": first["cpu_us"], "cpu_us": second["cpu_us"]})
        for number in range(3):
            for peer in peers:
                collect(rows, peer.name, reload(peer, many, f"new{number}.example"))
        time.sleep(3)
        for peer in peers:
            collect(rows, peer.name, {"memory_after_kib": memory(peer.process.pid)})
    return {"title": f"{len(many)} routes", "count": len(many), "peers": rows}


def reload(peer, pairs, host):
    """Adds a host. Returns the seconds until it is served, and the CPU time until two seconds later."""
    used, start = cpu(peer.process.pid), time.monotonic()
    peer.add(pairs, host, "/new/")
    wait_for(lambda: status(peer.http, host, "/new/") == 200, 60, f"{peer.name} does not serve a new route")
    took = time.monotonic() - start
    time.sleep(2)
    return {"reload_s": took, "reload_cpu_ms": (cpu(peer.process.pid) - used) * 1e3}


def measure_idle(lab, peers, args):
    """Memory at the start, and with idle connections that have received one response each."""
    rows = {}
    trust = ssl.create_default_context(cafile=lab.certificate)
    for peer in peers:
        for kind, count in (("plain", args.idle), ("tls", args.idle // 2)):
            with running([peer]), contextlib.ExitStack() as stack:
                time.sleep(3)
                before = memory(peer.process.pid)
                hold(stack, *((peer.tls, count, trust) if kind == "tls" else (peer.http, count)))
                time.sleep(6)
                after = memory(peer.process.pid)
                collect(rows, peer.name, {f"{kind}_kib": (after - before) / count})
                if kind == "plain":
                    collect(rows, peer.name, {"start_kib": before})
    return {"title": "Memory", "count": args.idle, "peers": rows}


class Direct:
    """The backend itself, without a gateway."""

    name = "none (backend)"


def measure_latency(lab, peers, args):
    """Response times in microseconds, with a request every 2 ms on one connection."""
    rows, direct = {}, Direct()
    direct.http = lab.backend
    gc.disable()
    with running(peers):
        for number in range(args.rounds + args.warm):
            for peer in (direct, *peers):
                times = ping(peer.http, 1 if number < args.warm else args.secs)
                if number >= args.warm:
                    centiles = statistics.quantiles(times, n=100)
                    collect(rows, peer.name, {"p50_us": centiles[49], "p99_us": centiles[98]})
    gc.enable()
    return {"title": "Latency at 500 requests a second", "peers": rows}


def ping(port, seconds):
    times = []
    question = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), 10) as one:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            start = time.perf_counter()
            one.sendall(question)
            one.recv(4096)
            times.append((time.perf_counter() - start) * 1e6)
            time.sleep(max(0.0, 0.002 - times[-1] / 1e6))
    return times


def spread(values, digits=1):
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def table(head, rows):
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def report(result):
    """The results as Markdown."""
    machine, found = result["machine"], result["scenarios"]
    names = list(result["versions"])
    first, others = names[0], [name for name in names[1:] if name in ("nginx", "haproxy")]
    parts = [f"{machine['cpu']}, {machine['cpus']} CPUs, Linux {machine['kernel']}; "
             + ", ".join(result["versions"].values()) + f"; {result['rounds']} rounds of {result['secs']} s; "
             + f"load of the machine before: {machine['load']:.1f}.\n"]
    rows = []
    for name in (name for name in LOADS if name in found and len(found[name]["peers"]) == len(names)):
        peers = found[name]["peers"]
        own = statistics.median(peers[first]["cpu_us"])
        ratios = [f"{own / statistics.median(peers[other]['cpu_us']):.2f}" for other in others]
        foreign = max(statistics.median(peers[peer]["others"]) for peer in names)
        rows.append([found[name]["title"], *(spread(peers[peer]["cpu_us"]) for peer in names), *ratios, f"{foreign:.0%}"])
    if rows:
        head = ["CPU us per request", *names, *(f"to {other}" for other in others), "others on the CPU"]
        parts.append(table(head, rows))
    if "routes" in found:
        parts.append(table(
            [f"{found['routes']['count']} routes", "CPU us per request", "to one route", "a new route serves after, ms",
             "CPU of that, ms", "memory, MiB", "after three changes"],
            [[peer, spread(row["cpu_us"]),
              f"{statistics.median(row['cpu_us']) / statistics.median(row['one_cpu_us']):.2f}",
              spread([value * 1e3 for value in row["reload_s"]], 0), spread(row["reload_cpu_ms"], 0),
              f"{row['memory_kib'][0] / 1024:.1f}", f"{row['memory_after_kib'][0] / 1024:.1f}"]
             for peer, row in found["routes"]["peers"].items()]))
    if "idle" in found:
        parts.append(table(
            ["memory", "at start, MiB", "idle connection, KiB", "idle connection with TLS, KiB"],
            [[peer, f"{row['start_kib'][0] / 1024:.1f}", f"{row['plain_kib'][0]:.1f}", f"{row['tls_kib'][0]:.1f}"]
             for peer, row in found["idle"]["peers"].items()]))
    if "latency" in found:
        parts.append(table(
            ["500 requests a second", "p50, us", "p99, us"],
            [[peer, spread(row["p50_us"], 0), spread(row["p99_us"], 0)]
             for peer, row in found["latency"]["peers"].items()]))
    return "\n".join(parts)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", nargs="+", help="builds of the gateway")
    parser.add_argument("--peers", default="nginx,haproxy", help="gateways to compare with (default: %(default)s)")
    parser.add_argument("--scenarios", default=",".join([*LOADS, "routes", "idle", "latency"]), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--secs", type=int, default=4, help="seconds of a round (default: %(default)s)")
    parser.add_argument("--routes", type=int, default=10000, help="default: %(default)s")
    parser.add_argument("--idle", type=int, default=1000, help="idle connections (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one round of one second, which is inaccurate")
    parser.add_argument("--json", default="target/compare.json", help="file for the results (default: %(default)s)")
    args = parser.parse_args()
    args.warm = 1
    if args.quick:
        args.rounds, args.secs, args.warm, args.routes, args.idle = 1, 1, 0, 1000, 200
    return args


def check(args):
    """Exits with a message if a program is missing or an argument is invalid."""
    wanted = [name for name in args.peers.split(",") if name]
    scenarios = args.scenarios.split(",")
    for name in wanted:
        if name not in ("nginx", "haproxy"):
            raise SystemExit(f"unknown peer {name}; use nginx or haproxy")
    for name in scenarios:
        if name not in (*LOADS, "routes", "idle", "latency"):
            raise SystemExit(f"unknown scenario {name}")
    needed = {"nginx", "openssl", *wanted}
    needed |= {"wrk"} if {*scenarios} - {"h2", "idle", "latency"} else set()
    needed |= {"h2load"} if "h2" in scenarios else set()
    needed |= {"haproxy"} if {"proxy", "proxy-new"} & {*scenarios} else set()
    for binary in args.binary:
        if not os.access(binary, os.X_OK):
            raise SystemExit(f"{binary} not found: cargo build --profile dist -p towergate")
    missing = sorted(NEEDS[name] for name in needed if not shutil.which(name))
    if missing:
        raise SystemExit(f"missing: apt-get install {' '.join(missing)} (or select others with --peers, --scenarios)")
    return wanted, scenarios


def main():
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    args = arguments()
    wanted, scenarios = check(args)
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    machine = {"cpu": model[1] if model else platform.machine(), "cpus": os.cpu_count(),
               "kernel": platform.release(), "load": os.getloadavg()[0]}
    with Lab() as lab:
        lab.start_backend()
        names = ["towergate", *(f"towergate-{number}" for number in range(2, len(args.binary) + 1))]
        binaries = [str(pathlib.Path(binary).resolve()) for binary in args.binary]

        def make(end=""):
            own = [Towergate(lab, name, binary, name + end) for name, binary in zip(names, binaries)]
            kinds = {"nginx": Nginx, "haproxy": Haproxy}
            return own + [kinds[name](lab, name, name + end) for name in wanted]

        peers, found = make(), {}
        result = {"machine": machine, "rounds": args.rounds, "secs": args.secs, "date": time.strftime("%Y-%m-%d"),
                  "versions": {peer.name: peer.version() for peer in peers}, "scenarios": found}
        try:
            measure_loads(lab, peers, args, [name for name in LOADS if name in scenarios], found)
            if "routes" in scenarios:
                found["routes"] = measure_routes(lab, peers, make("-one"), args)
            if "idle" in scenarios:
                found["idle"] = measure_idle(lab, peers, args)
            if "latency" in scenarios:
                found["latency"] = measure_latency(lab, peers, args)
        finally:
            file = pathlib.Path(args.json)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(result, indent=1) + "\n")
    print(report(result))


if __name__ == "__main__":
    main()
