#!/usr/bin/env python3
"""Behaviour of the gateway under overload, beside a backend that hangs, and with large bodies.

    gateway-bin/benches/load.py target/dist/towergate [overload] [bystander] [bodies]

Starts the gateway with one worker, and its own backends. Requires wrk and curl. Prints the measurements, and exits
with status 1 if a bound of docs/performance.md is exceeded.
"""

import asyncio
import contextlib
import os
import pathlib
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

BODY = int(os.environ.get("BODY_MIB", "1024")) << 20  # bytes
SLOTS = 16  # concurrent requests that the circuit breaker admits
DELAY = 0.05  # response time of the slow backend, in seconds
SECONDS = int(os.environ.get("SECONDS", "8"))
MANIFEST = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: load}}
spec: {{gatewayClassName: eg, listeners: [{{name: http, port: {port}, protocol: HTTP}}]}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {{name: slow}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: slow}}]
  circuitBreaker: {{maxParallelRequests: {slots}, maxPendingRequests: 1, maxConnections: {slots}}}
"""
ROUTE = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
  parentRefs: [{{name: load}}]
  rules: [{{matches: [{{path: {{value: /{name}}}}}], backendRefs: [{{name: {name}, port: 80}}]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{port: {port}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Backend(asyncio.BufferedProtocol):
    """Responds by the first segment of the path: at once, late, never, or with a large body."""

    room = bytearray(1 << 20)
    block = bytes(1 << 18)

    def __init__(self):
        self.head = b""
        self.left = 0
        self.ready = asyncio.Event()
        self.ready.set()

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, _):
        return self.room

    def buffer_updated(self, size):
        if self.left:
            self.left -= size
            if self.left <= 0:
                self.answer(0)
            return
        self.head += bytes(self.room[:size])
        while b"\r\n\r\n" in self.head and not self.left:
            head, _, self.head = self.head.partition(b"\r\n\r\n")
            self.handle(head)

    def handle(self, head):
        word = head.split(b" ", 2)[1].split(b"/")[1]
        length = re.search(rb"content-length: (\d+)", head, re.I)
        if length and int(length[1]):
            self.left, self.head = int(length[1]) - len(self.head), b""
        elif word == b"slow":
            asyncio.get_running_loop().call_later(DELAY, self.answer, 2)
        elif word == b"large":
            asyncio.get_running_loop().create_task(self.pour(BODY))
        elif word != b"stuck":
            self.answer(2)

    def answer(self, size):
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size
        self.transport.write(head + b"x" * size)

    async def pour(self, size):
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size // len(self.block)):
            await self.ready.wait()
            self.transport.write(self.block)

    def pause_writing(self):
        self.ready.clear()

    def resume_writing(self):
        self.ready.set()


def serve_backend(port):
    async def serve():
        server = await asyncio.get_running_loop().create_server(Backend, "127.0.0.1", port, backlog=4096)
        await server.serve_forever()

    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve())
        os._exit(0)
    return pid


class Gateway:
    def __init__(self, binary, folder):
        self.port = free_port()
        names, backends = ["quick", "slow", "stuck", "large"], []
        text = MANIFEST.format(port=self.port, slots=SLOTS)
        for name in names:
            port = free_port()
            backends.append(serve_backend(port))
            text += ROUTE.format(name=name, port=port)
        self.backends = backends
        pathlib.Path(folder, "load.yaml").write_text(text)
        more = ["--workers", "1", "--admin", "off", "--access-log", "off", "--quiet", "--bind", "127.0.0.1"]
        cpus = sorted(os.sched_getaffinity(0))
        self.process = subprocess.Popen([binary, "run", folder, *more], stderr=subprocess.DEVNULL)
        if len(cpus) > 1:
            # The gateway runs alone on one CPU; all other processes share the others.
            os.sched_setaffinity(self.process.pid, cpus[:1])
            for pid in (0, *backends):
                os.sched_setaffinity(pid, cpus[1:])
        for _ in range(200):
            time.sleep(0.05)
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
        raise SystemExit("the gateway does not accept connections")

    def url(self, name):
        return f"http://127.0.0.1:{self.port}/{name}"

    def memory(self):
        """Resident and proportional set size, in MiB."""
        text = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return [int(re.search(rf"^{word}:\s+(\d+)", text, re.M)[1]) / 1024 for word in ("Rss", "Pss")]

    def end(self):
        self.process.kill()
        self.process.wait()
        for pid in self.backends:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)


def wrk(url, connections, seconds=SECONDS, script=None):
    """Responses per second, failures per second, median and 99th percentile of the latency in ms."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "--timeout", "30s", url]
    command += ["-s", script] if script else []
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    took = float(re.search(r"requests in ([\d.]+)s", out)[1])
    total = int(re.search(r"(\d+) requests in", out)[1])
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    unit = {"us": 0.001, "ms": 1, "s": 1000}
    at = {p: float(v) * unit[u] for p, v, u in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)", out)}
    return total / took, (int(failed[1]) if failed else 0) / took, at["50"], at["99"]


def overload(gateway):
    """Medians of rounds with as many requests as the backend can serve, and with ten times as many."""
    peaks, goods, all_answers = [], [], []
    wrk(gateway.url("slow"), SLOTS, 2)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        # With equal pauses, requests would come in waves, each just before the circuit breaker admits them.
        script.write(f"function delay() return math.random(0, {2 * DELAY * 1000:.0f}) end")
        script.flush()
        for _ in range(5):
            peak, failed, *_ = wrk(gateway.url("slow"), SLOTS, SECONDS / 4)
            total, refused, median, p99 = wrk(gateway.url("slow"), SLOTS * 11, SECONDS / 4, script.name)
            peaks.append(peak - failed)
            goods.append((total - refused) / peaks[-1])
            all_answers.append((total / peaks[-1], median, p99))
    good, peak = statistics.median(goods), statistics.median(peaks)
    times, median, p99 = (statistics.median(values) for values in zip(*all_answers))
    print(f"overload: peak {peak:.0f}/s; {times:.1f} times as many: good {good:.0%} of it "
          f"({min(goods):.0%}-{max(goods):.0%}); all responses p50 {median:.1f} ms, p99 {p99:.1f} ms")
    return good >= 0.8


def bystander(gateway):
    """99th percentile of a client: alone, and while 1000 requests of others hang. Medians of rounds."""
    alone, beside, failed = [], [], 0
    wrk(gateway.url("quick"), 4, 2)
    for _ in range(5):
        alone.append(wrk(gateway.url("quick"), 4, SECONDS / 4)[3])
        others = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(1000)]
        for other in others:
            other.sendall(b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(1)
        result = wrk(gateway.url("quick"), 4, SECONDS / 4)
        beside.append(result[3])
        failed += result[1]
        for other in others:
            other.close()
        time.sleep(0.5)
    alone, beside = statistics.median(alone), statistics.median(beside)
    print(f"bystander: p99 {alone:.2f} ms alone, {beside:.2f} ms beside 1000 hanging requests, {failed:.0f} failed")
    return failed == 0 and beside <= 2 * alone + 1


def bodies(gateway):
    """Memory while 20 large bodies are transferred concurrently, in each direction."""
    good = True
    before = gateway.memory()[0]
    for way in ("down", "up"):
        highest, done = [before], threading.Event()

        def watch():
            while not done.wait(0.02):
                highest[0] = max(highest[0], gateway.memory()[0])

        watcher = threading.Thread(target=watch)
        watcher.start()
        start = time.time()
        command = f"curl -sS -f -o /dev/null {gateway.url('large')}"
        if way == "up":
            command = (f"head -c {BODY} /dev/zero | curl -sS -f -o /dev/null -X POST "
                       f"-H 'Content-Length: {BODY}' -H 'Transfer-Encoding:' -H 'Expect:' -T - {gateway.url('large')}")
        clients = [subprocess.Popen(command, shell=True) for _ in range(20)]
        failed = sum(client.wait() != 0 for client in clients)
        done.set()
        watcher.join()
        print(f"bodies {way}: 20 of {BODY >> 20} MiB in {time.time() - start:.0f} s, {failed} failed; "
              f"resident {before:.0f} MiB before, {highest[0]:.0f} MiB at most")
        good = good and not failed and highest[0] <= 64
    return good


def main():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    cpus = os.sched_getaffinity(0)
    binary, *wanted = sys.argv[1:] or [None]
    if binary is None:
        raise SystemExit(__doc__)
    good = True
    for test in (overload, bystander, bodies):
        if wanted and test.__name__ not in wanted:
            continue
        with tempfile.TemporaryDirectory() as folder:
            gateway = Gateway(binary, folder)
            try:
                good = test(gateway) and good
            finally:
                gateway.end()
                os.sched_setaffinity(0, cpus)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
