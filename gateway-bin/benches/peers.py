"""The gateways that are compared: configuration, start, changes, measurement and shutdown of each.

Part of compare.py, scale.py and ../release/train.py. Every gateway has one worker on its own CPU, reuses connections to
the backend, and sends the client address to the backend. There is no access log and no TLS session resumption.
"""

import base64
import contextlib
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HOST = "bench.example"
TICK = os.sysconf("SC_CLK_TCK")
BASE = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: plain}}
spec:
  gatewayClassName: eg
  listeners:
  - {{name: http, port: {http}, protocol: HTTP}}
  - {{name: https, port: {tls}, protocol: HTTPS, tls: {{certificateRefs: [{{name: cert}}]}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: proxy}}
spec: {{gatewayClassName: eg, listeners: [{{name: http, port: {proxy}, protocol: HTTP}}]}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {{name: proxy}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: proxy}}]
  proxyProtocol: {{optional: false}}
"""
SERVICE = """
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
NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/log crit; worker_rlimit_nofile 20000; {user}
events {{ worker_connections 8192; }}
http {{
  access_log off; default_type text/plain; keepalive_timeout 300s; keepalive_requests 1000000000;
  server_names_hash_max_size 65536; server_names_hash_bucket_size 128;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {more}
}}
"""
HAPROXY = """
global
  nbthread 1
  maxconn 8000
  tune.ssl.cachesize 0
defaults
  timeout connect 5s
  timeout client 300s
  timeout server 300s
"""


def free_port():
    """A free port, outside the range that the system assigns to clients."""
    first, last = map(int, pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    while True:
        port = random.choice([port for port in range(10000, 65536) if not first <= port <= last])
        with contextlib.suppress(OSError), socket.socket() as one:
            one.bind(("127.0.0.1", port))
            return port


def routes(count):
    """`count` pairs of a host and a path prefix, with ten prefixes per host."""
    return [(f"h{i // 10}.example", f"/p{i % 10}/") for i in range(count)]


def by_host(pairs):
    hosts = {}
    for host, path in pairs:
        hosts.setdefault(host, []).append(path)
    return hosts


def replace(path, text):
    """Replaces a file atomically, as editors do."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.rename(path)


def secret(name, certificate, key):
    crt, key = (base64.b64encode(path.read_bytes()).decode() for path in (certificate, key))
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ntype: kubernetes.io/tls\n" \
           f"data: {{tls.crt: {crt}, tls.key: {key}}}\n"


def hold(stack, port, count, trust=None, host=HOST):
    """Opens connections, each with one request. They are then idle until the stack is closed."""
    for _ in range(count):
        one = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
        if trust:
            one = stack.enter_context(trust.wrap_socket(one, server_hostname=host))
        one.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        if not one.recv(4096).startswith(b"HTTP/1.1 200"):
            raise SystemExit("no response on a connection that should become idle")


def tree(pid):
    """The process and its descendants."""
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        for children in pathlib.Path(f"/proc/{found[-1]}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                todo += map(int, children.read_text().split())
    return found


def cpu(pid):
    """CPU time in seconds of the process and its descendants, including those that have exited."""
    total = 0.0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{one}/task"):
                total += int(pathlib.Path(f"/proc/{one}/task/{thread}/schedstat").read_text().split()[0]) / 1e9
            fields = pathlib.Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
            total += (int(fields[13]) + int(fields[14])) / TICK
    return total


def memory(pid):
    """Memory of the process and its descendants in KiB, as proportional set size (PSS)."""
    total = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            text = pathlib.Path(f"/proc/{one}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1])
    return total


def busy(cpus):
    """Busy time of these CPUs in seconds, for all processes."""
    total = 0
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        name, *values = line.split()
        if name[3:].isdigit() and int(name[3:]) in cpus:
            user, nice, system, _, _, irq, softirq, *_ = map(int, values)
            total += user + nice + system + irq + softirq
    return total / TICK


def status(port, host=HOST, path="/"):
    """Status of a response. 0: no response."""
    with contextlib.suppress(OSError, ValueError):
        with socket.create_connection(("127.0.0.1", port), 2) as one:
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return int(one.recv(4096)[9:12])
    return 0


class Lab:
    """A folder, the CPUs, and all started processes. On exit, processes are stopped and the folder is removed."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="towergate-bench-"))
        self.folder.chmod(0o755)  # The workers of nginx run as another user.
        cpus = sorted(os.sched_getaffinity(0))
        self.front, self.rest = (cpus[:1], cpus[1:]) if len(cpus) > 1 else (cpus, cpus)
        os.sched_setaffinity(0, self.rest)
        with contextlib.suppress(OSError):
            os.nice(-5)  # so that other processes disturb less
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        self.processes = []
        self.certificate, self.key = self.make_certificate("cert", HOST)
        self.backend = free_port()

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: exit(1))
        return self

    def __exit__(self, *_):
        for process in list(self.processes):
            self.end(process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def make_certificate(self, name, host):
        paths = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
             "-out", paths[0], "-keyout", paths[1], "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"],
            check=True, capture_output=True)
        return paths

    def start(self, command, cpus, log):
        with open(log, "ab") as out:
            process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True, preexec_fn=lambda: os.sched_setaffinity(0, cpus))
        self.processes.append(process)
        return process

    def end(self, process):
        below = tree(process.pid)[1:]
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            for pid in (*below, process.pid):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
        self.processes.remove(process)

    def start_backend(self):
        """nginx as the backend: 64 KiB at /64k, 128 bytes at any other path, both from memory."""
        folder = self.folder / "backend"
        folder.mkdir()
        (folder / "64k").write_text("x" * 65536)
        more = f"""sendfile on; tcp_nopush on; open_file_cache max=10;
  server {{ listen 127.0.0.1:{self.backend} backlog=4096; root {folder};
    location = /64k {{ }} location / {{ return 200 "{"x" * 128}"; }} }}"""
        self.start(nginx_command(folder, more), self.rest, folder / "log")
        wait_for(lambda: status(self.backend) == 200, 30, "the backend does not serve", folder / "log")


def wait_for(good, seconds, otherwise, log=None):
    """Returns the seconds until `good()` is true. After `seconds`, exits with a message and the end of the log."""
    start = time.monotonic()
    while not good():
        if time.monotonic() - start > seconds:
            raise SystemExit("\n".join([otherwise, *([log.read_text()[-2000:]] if log else [])]))
        time.sleep(0.002)
    return time.monotonic() - start


def nginx_command(folder, more):
    user = "user root;" if os.getuid() == 0 else ""
    replace(folder / "nginx.conf", NGINX.format(folder=folder, more=more, user=user))
    return ["nginx", "-e", folder / "log", "-p", folder, "-c", folder / "nginx.conf"]


class Peer:
    """A gateway. `pairs`: its routes, as from `routes`. None: all requests go to the backend."""

    def __init__(self, lab, name, folder=None):
        self.lab, self.name = lab, name
        self.folder = lab.folder / (folder or name)
        self.folder.mkdir(exist_ok=True)
        self.process = None

    def start(self, pairs=None):
        self.http, self.tls, self.proxy = free_port(), free_port(), free_port()
        command = self.prepare(pairs)
        self.process = self.lab.start(command, self.lab.front, self.folder / "out")
        host, path = pairs[-1] if pairs else (HOST, "/")
        wait_for(lambda: status(self.http, host, path) == 200, 60, f"{self.name} does not serve", self.folder / "out")

    def end(self):
        self.lab.end(self.process)


class Towergate(Peer):
    """The program of this repository. Each host has an HTTPRoute in its own file, with a rule for each path."""

    access_log = "off"

    def __init__(self, lab, name, binary, folder=None):
        super().__init__(lab, name, folder)
        self.binary = binary

    def version(self):
        return subprocess.run([self.binary, "--version"], capture_output=True, text=True, check=True).stdout.strip()

    def prepare(self, pairs):
        self.manifests = self.folder / f"manifests-{self.http}"
        self.manifests.mkdir()
        replace(self.manifests / "gateways.yaml", BASE.format(http=self.http, tls=self.tls, proxy=self.proxy))
        replace(self.manifests / "backend.yaml", SERVICE.format(name="up", port=self.lab.backend))
        replace(self.manifests / "secret.yaml", secret("cert", self.lab.certificate, self.lab.key))
        for host, paths in (by_host(pairs) if pairs else {"": ["/"]}).items():
            self.write_route(host, paths)
        more = ["--workers", "1", "--admin", "off", "--access-log", self.access_log, "--quiet", "--bind", "127.0.0.1"]
        return [self.binary, "run", self.manifests, *more]

    def write_route(self, host, paths, service="up"):
        rules = "".join(
            f"\n  - {{matches: [{{path: {{value: {path}}}}}], backendRefs: [{{name: {service}, port: 80}}]}}"
            for path in paths)
        name = host.split(".")[0] or "all"
        replace(self.manifests / f"route-{name}.yaml", f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
  parentRefs: [{{name: plain}}, {{name: proxy}}]
  hostnames: [{host}]
  rules:{rules}
""")

    def add(self, pairs, host, path):
        self.write_route(host, [path])


class Nginx(Peer):
    """nginx with one server per host and one location per path."""

    def version(self):
        return subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr.strip().split(": ")[-1]

    def prepare(self, pairs):
        upstream = f"""upstream up {{ server 127.0.0.1:{self.lab.backend}; keepalive 512; keepalive_requests 1000000000; }}
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-For $remote_addr; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets off;
  ssl_certificate {self.lab.certificate}; ssl_certificate_key {self.lab.key};"""
        listen = (f"listen 127.0.0.1:{self.http} backlog=4096; listen 127.0.0.1:{self.tls} ssl http2 backlog=4096; "
                  f"listen 127.0.0.1:{self.proxy} proxy_protocol backlog=4096;")
        servers = []
        for host, paths in (by_host(pairs) if pairs else {"_": ["/"]}).items():
            where = "".join(f" location {path} {{ proxy_pass http://up; }}" for path in paths)
            servers.append(f"\n  server {{ {listen} server_name {host};{where} }}")
            listen = listen.replace(" backlog=4096", "")
        return nginx_command(self.folder, upstream + "".join(servers))

    def add(self, pairs, host, path):
        self.prepare([*pairs, (host, path)])
        self.process.send_signal(signal.SIGHUP)


class Haproxy(Peer):
    """HAProxy with all routes in one map of prefixes."""

    def version(self):
        out = subprocess.run(["haproxy", "-v"], capture_output=True, text=True).stdout
        return "haproxy/" + out.split()[2]

    def prepare(self, pairs):
        pem = self.folder / "both.pem"
        pem.write_bytes(self.lab.certificate.read_bytes() + self.lab.key.read_bytes())
        find = "default_backend up"
        if pairs:
            replace(self.folder / "routes.map", "".join(f"{host}{path} up\n" for host, path in pairs))
            find = f"use_backend %[base,map_beg({self.folder}/routes.map,none)]"
        replace(self.folder / "haproxy.cfg", f"""{HAPROXY}
  mode http
  http-reuse always
  option forwardfor
frontend all
  bind 127.0.0.1:{self.http} backlog 4096
  bind 127.0.0.1:{self.tls} backlog 4096 ssl crt {pem} alpn h2,http/1.1 no-tls-tickets
  bind 127.0.0.1:{self.proxy} backlog 4096 accept-proxy
  {find}
backend up
  server one 127.0.0.1:{self.lab.backend} pool-max-conn -1
backend none
  http-request deny status 404
""")
        return ["haproxy", "-W", "-db", "-q", "-f", self.folder / "haproxy.cfg"]

    def add(self, pairs, host, path):
        self.prepare([*pairs, (host, path)])
        self.process.send_signal(signal.SIGUSR2)


class Sender:
    """HAProxy as a load balancer in front of the gateway. It sends a PROXY header of version 2, then the bytes."""

    def __init__(self, lab, peer):
        self.lab, self.port = lab, free_port()
        config = lab.folder / f"sender-{peer.name}.cfg"
        replace(config, f"""{HAPROXY}
  mode tcp
frontend all
  bind 127.0.0.1:{self.port} backlog 4096
  default_backend gateway
backend gateway
  server one 127.0.0.1:{peer.proxy} send-proxy-v2
""")
        log = config.with_suffix(".log")
        self.process = lab.start(["haproxy", "-db", "-q", "-f", config], lab.rest, log)
        wait_for(lambda: status(self.port) == 200, 30, f"the sender in front of {peer.name} does not serve", log)

    def end(self):
        self.lab.end(self.process)
