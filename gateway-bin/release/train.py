#!/usr/bin/env python3
"""The load for which a release is optimised: some of each kind of request that gateways usually receive.

    gateway-bin/release/train.py BINARY [--seconds 2] [--profile FILE]

Part of `build`. First, each request is sent once and the status of its response is checked. Then wrk and h2load send
each kind of request for some seconds, and no request may fail. With --profile, BINARY must be instrumented (rustc's
-Cprofile-generate), and it writes its counts to FILE when it exits. Without --profile, any build can be used, to check
that the load still matches the gateway.
"""

import argparse
import http.client
import os
import pathlib
import shutil
import socket
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True  # It would be written next to the sources.
sys.path.insert(0, str(HERE.parent / "benches"))

from compare import CLOSE, NEEDS, h2load, wrk
from peers import HOST, Lab, Sender, Towergate, free_port, nginx_command, routes, status, wait_for

ROUTES = routes(300)
BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Referer": "https://shop.example/search?q=kettle",
    "Cookie": "session=5f0c7d1e2b8a49c6b6f1; theme=dark; seen=12%2C44%2C91; consent=necessary",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
    "Priority": "u=0, i",
}
PROGRAM = {"User-Agent": "curl/8.14.1", "Accept": "*/*", "Authorization": "Bearer " + "k" * 300}
FORM = BROWSER | {"Content-Type": "application/x-www-form-urlencoded"}
JSON = PROGRAM | {"Content-Type": "application/json"}
GRPC = {"User-Agent": "grpc-go/1.75.0", "Content-Type": "application/grpc", "TE": "trailers", "grpc-timeout": "5S"}
FORWARDED = BROWSER | {"X-Forwarded-For": "198.51.100.7, 192.0.2.10", "X-Forwarded-Proto": "https"}
# The first server reads the whole request before it responds, like an application. `return` in the second server
# responds at once: without the first server, nginx would close connections whose request body has not arrived.
BACKEND = """
  upstream answers {{ server unix:{folder}/answers; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{pages} backlog=4096; listen 127.0.0.1:{modern} http2 backlog=4096; root {folder};
    open_file_cache max=10; gzip on; gzip_comp_level 1; gzip_proxied any; gzip_types text/plain;
    add_header Cache-Control "private, max-age=60"; add_header Vary Accept-Encoding; add_header ETag '"5f0c-7d1e"';
    add_header Set-Cookie "session=5f0c7d1e2b8a49c6b6f1; Path=/; HttpOnly; Secure; SameSite=Lax";
    add_header X-Powered-By nginx; add_header Content-Security-Policy "default-src 'self'; img-src * data:";
    location /files/ {{ gzip off; }}
    location / {{
      proxy_pass http://answers; proxy_pass_request_body off; proxy_pass_request_headers off;
      proxy_http_version 1.1; proxy_method GET; proxy_set_header Connection "";
      proxy_set_header Content-Length ""; proxy_set_header Transfer-Encoding "";
    }}
  }}
  server {{ listen unix:{folder}/answers backlog=4096; location / {{ return 200 "{text}"; }} }}"""
# A script of wrk that sends complete requests from a file, in random order.
REPLAY = """
local all = {}
function init(args)
  for request in io.open(args[1], "rb"):read("*a"):gmatch("%Z+") do all[#all + 1] = request end
end
function request() return all[math.random(#all)] end
"""


def request(host, path, fields, method="GET", body=None, chunks=0):
    """The bytes of a request: without a body, with a content length, or in chunks."""
    framing = {}
    if chunks:
        framing = {"Transfer-Encoding": "chunked"}
        body = f"{len(body):x}\r\n{body}\r\n" * chunks + "0\r\n\r\n"
    elif body:
        framing = {"Content-Length": len(body)}
    head = "".join(f"{name}: {value}\r\n" for name, value in ({"Host": host} | fields | framing).items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n{body or ''}".encode()


# Kinds of requests: the expected status, and the requests.
SHOP = 200, [
    request("shop.example", "/", BROWSER),
    request("www.shop.example", "/assets/app.js?v=20260401", BROWSER),
    request("shop.example", "/item/4711", BROWSER),
    request("shop.example", "/search?q=kettle&beta=1", BROWSER),
    request("shop.example", "/cart", FORM, "POST", "item=4711&number=2&" + "n" * 200),
    request("shop.example", "/cart", FORM, "POST", "c" * 1000, chunks=3),
]
API = 200, [
    request("api.example", "/v1/things/12?fields=name,price", PROGRAM),
    request("api.example", "/v2/things", JSON, "POST", '{"name": "' + "x" * 900 + '"}'),
    request("api.example", "/things", JSON | {"X-Version": "2"}, "PUT", '{"price": 12}'),
    request("api.example", "/v2/things", JSON, "POST", "{}" * 2000, chunks=2),
    request("api.example", "/shared/list", BROWSER | {"Origin": "https://shop.example"}),
    request("modern.example", "/things/9", PROGRAM),
    request("modern.example", "/things", JSON, "POST", '{"name": "kettle"}'),
]
BEHIND = 200, [
    request("shop.example", "/item/12", FORWARDED),
    request("shop.example", "/cart", FORWARDED, "POST", "item=12"),
    request("api.example", "/v1/things", FORWARDED),
]
FILES = 200, [request("shop.example", path, BROWSER) for path in ("/files/64k", "/files/64k", "/files/1m")]
UPLOADS = 200, [
    request("api.example", "/v2/up", JSON, "POST", "u" * 100_000),
    request("modern.example", "/up", JSON, "POST", "u" * 16_000, chunks=6),
]
REDIRECTS = 301, [
    request("secure.example", "/login?next=/", BROWSER),
    request("shop.example", "/old/kettles", BROWSER),
]
NOT_FOUND = 404, [request(host, "/wp-login.php", BROWSER) for host in ("api.example", "nobody.example")]
MANY = 200, [request(host, f"{path}item?id={len(path)}", BROWSER) for host, path in ROUTES]


class Trained(Towergate):
    """The gateway with the routes of training.yaml and with an access log. Like all gateways of peers.py, it has one
    worker: several workers would corrupt the counts, which are not atomic."""

    access_log = os.devnull

    def prepare(self, pairs):
        command = super().prepare(pairs)
        self.write_route("", ["/"])
        shutil.copy(HERE / "training.yaml", self.manifests)
        self.behind, pages, modern = free_port(), free_port(), free_port()
        self.start_pages(pages, modern)
        return [*command, "--port", f"8080={self.behind}", "--endpoint", f"default/pages:80=127.0.0.1:{pages}",
                "--endpoint", f"default/modern:80=127.0.0.1:{modern}"]

    def start_pages(self, pages, modern):
        """A second nginx, with responses like those of applications, and files of two sizes."""
        folder = self.folder / "pages"
        (folder / "files").mkdir(parents=True)
        for name, size in (("64k", 1 << 16), ("1m", 1 << 20)):
            (folder / "files" / name).write_text("x" * size)
        more = BACKEND.format(folder=folder, pages=pages, modern=modern, text="<p>Kettles, and cups</p>" * 40)
        self.lab.start(nginx_command(folder, more), self.lab.rest, folder / "log")
        wait_for(lambda: status(pages) == 200, 30, "the second backend does not serve", folder / "log")

    def end(self):
        """Stops the gateway with SIGTERM, so that it writes its profile."""
        self.process.terminate()
        if code := self.process.wait(60):
            raise SystemExit(f"the gateway ended with status {code}")
        self.lab.processes.remove(self.process)


class Training:
    """A gateway and its load. Each kind of load returns the number of responses, and the number of unexpected ones."""

    def __init__(self, lab, gateway, seconds):
        self.lab, self.gateway, self.seconds = lab, gateway, seconds
        self.script = lab.folder / "replay.lua"
        self.script.write_text(REPLAY)

    def check(self, port, kind):
        """Sends each request once and checks its status."""
        right, requests = kind
        for raw in requests:
            with socket.create_connection(("127.0.0.1", port), 10) as one:
                one.sendall(raw)
                answer = http.client.HTTPResponse(one)
                answer.begin()
                answer.read()
            if answer.status != right:
                raise SystemExit(f"{answer.status} instead of {right} for {raw[:100]}")

    def replay(self, port, kind, tls=False):
        """Sends the requests of a kind in random order."""
        if not tls:
            self.check(port, kind)
        right, requests = kind
        file = self.lab.folder / "requests"
        file.write_bytes(b"\0".join(requests))
        url = f"http{'s' if tls else ''}://127.0.0.1:{port}/"
        answers, bad = wrk(url, self.seconds, "-s", self.script, "--", file)
        return answers, bad if right < 400 else answers - bad

    def http2(self, host, path="/", *more):
        """Sends requests over a few persistent connections."""
        return h2load(f"https://{host}:{self.gateway.tls}{path}", self.seconds,
                      f"--connect-to=127.0.0.1:{self.gateway.tls}", *more)

    def http2_new(self):
        """Sends requests over connections with ten requests each."""
        end, answers, bad = time.monotonic() + self.seconds, 0, 0
        while time.monotonic() < end:
            more = h2load(f"https://127.0.0.1:{self.gateway.tls}/", 0, "-c64", "-m10", "-n640")
            answers, bad = answers + more[0], bad + more[1]
        return answers, bad

    def changes(self):
        """Changes the configuration repeatedly."""
        end, number = time.monotonic() + self.seconds, 0
        while time.monotonic() < end:
            number += 1
            host = f"new{number}.example"
            self.gateway.add(ROUTES, host, "/new/")
            wait_for(lambda: status(self.gateway.http, host, "/new/") == 200, 30, "a change is not served")
        return number, 0

    def loads(self, sender):
        """The kinds of load, by name."""
        gateway, seconds = self.gateway, self.seconds
        plain, tls = f"http://127.0.0.1:{gateway.http}/", f"https://127.0.0.1:{gateway.tls}/"
        proxied = f"http://127.0.0.1:{sender.port}/"
        form, call = self.lab.folder / "form", self.lab.folder / "call"
        form.write_text("item=4711&number=2&" + "n" * 500)
        call.write_bytes(b"\0\0\0\0\5hello")
        return {
            "HTTP/1.1": lambda: wrk(plain, seconds),
            "new connections": lambda: wrk(plain, seconds, *CLOSE),
            "TLS": lambda: wrk(tls, seconds),
            "new TLS connections": lambda: wrk(tls, seconds, *CLOSE),
            "PROXY": lambda: wrk(proxied, seconds),
            "new PROXY connections": lambda: wrk(proxied, seconds, *CLOSE),
            "browsers": lambda: self.replay(gateway.http, SHOP),
            "browsers, TLS": lambda: self.replay(gateway.tls, SHOP, tls=True),
            "programs": lambda: self.replay(gateway.http, API),
            "programs, TLS": lambda: self.replay(gateway.tls, API, tls=True),
            "behind a proxy": lambda: self.replay(gateway.behind, BEHIND),
            "many routes": lambda: self.replay(gateway.http, MANY),
            "redirects": lambda: self.replay(gateway.http, REDIRECTS),
            "no route": lambda: self.replay(gateway.behind, NOT_FOUND),
            "files": lambda: self.replay(gateway.http, FILES),
            "uploads": lambda: self.replay(gateway.http, UPLOADS),
            "HTTP/2": lambda: self.http2(HOST),
            "new HTTP/2 connections": self.http2_new,
            "browsers, HTTP/2": lambda: self.http2("shop.example", "/item/12?from=search", *fields(BROWSER)),
            "forms, HTTP/2": lambda: self.http2("shop.example", "/cart", *fields(FORM), "-d", form),
            "files, HTTP/2": lambda: self.http2("shop.example", "/files/64k", *fields(BROWSER)),
            "HTTP/2 both ways": lambda: self.http2("modern.example", "/things", *fields(PROGRAM)),
            "gRPC": lambda: self.http2("calls.example", "/training.Training/Call", *fields(GRPC), "-d", call),
            "changes": self.changes,
        }

    def run(self):
        sender = Sender(self.lab, self.gateway)
        for name, load in self.loads(sender).items():
            # A load without any response is repeated, because the machine may have been busy.
            answers, bad = next((result for result in (load() for _ in range(3)) if any(result)), (0, 0))
            print(f"{name}: {answers} responses", flush=True)
            if bad or not answers:
                raise SystemExit(f"{name}: {bad} of {answers} responses were unexpected")
        sender.end()


def fields(named):
    """Header fields as arguments of h2load."""
    return [word for name, value in named.items() for word in ("-H", f"{name}: {value}")]


def missing():
    """Debian packages that must be installed first."""
    return sorted(package for program, package in NEEDS.items() if not shutil.which(program))


def main():
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", nargs="?", help="the program; default: only check that the required tools are installed")
    parser.add_argument("--seconds", type=int, default=2, help="duration of each kind of load (default: %(default)s)")
    parser.add_argument("--profile", type=pathlib.Path, help="file for the counts of the program")
    args = parser.parse_args()
    if packages := missing():
        raise SystemExit(f"missing: apt-get install {' '.join(packages)}")
    if not args.binary:
        return
    if args.profile:
        os.environ["LLVM_PROFILE_FILE"] = str(args.profile.resolve())
    with Lab() as lab:
        lab.start_backend()
        gateway = Trained(lab, "towergate", os.path.abspath(args.binary))
        gateway.start(ROUTES)
        Training(lab, gateway, args.seconds).run()
        gateway.end()
    if args.profile and not args.profile.exists():
        raise SystemExit(f"{args.binary} has not written its counts: it must be built with -Cprofile-generate")


if __name__ == "__main__":
    main()
