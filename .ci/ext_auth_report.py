"""Tests external authorization with oauth2-proxy and a gRPC service. .ci/ext_auth passes the paths of the gateway and
of oauth2-proxy; the latter is empty if oauth2-proxy cannot be built."""

import base64
import hashlib
import http.client
import http.server
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from concurrent import futures

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc
from envoy.type.v3 import http_status_pb2
from google.protobuf import json_format
from google.rpc import status_pb2

MANIFESTS = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: apps}
spec:
  gatewayClassName: eg
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: apps}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: oauth2-proxy, namespace: apps}
spec: {ports: [{port: 4180}]}
---
apiVersion: v1
kind: Service
metadata: {name: checker, namespace: apps}
spec: {ports: [{port: 9000}]}
---
apiVersion: v1
kind: Secret
metadata: {name: context, namespace: apps}
stringData: {tier: gold}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: login, namespace: apps}
spec:
  parentRefs: [{name: edge}]
  hostnames: [login.test]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: login, namespace: apps}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: login}]
  extAuth:
    headersToExtAuth: [cookie, content-type, accept, x-forwarded-proto]
    bodyToExtAuth: {maxRequestBytes: 4096}
    http:
      backendRefs: [{name: oauth2-proxy, port: 4180}]
      headersToBackend: [x-auth-request-user, x-auth-request-email]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: check, namespace: apps}
spec:
  parentRefs: [{name: edge}]
  hostnames: [check.test]
  rules: [{name: main, backendRefs: [{name: echo, port: 80}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: check, namespace: apps}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: check}]
  extAuth:
    bodyToExtAuth: {maxRequestBytes: 64}
    includeRouteMetadata: true
    timeout: 1s
    contextExtensions:
      - {name: tier, type: ValueRef, valueRef: {group: "", kind: Secret, name: context, key: tier}}
    grpc: {backendRefs: [{name: checker, port: 9000}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: filter, namespace: apps}
spec:
  parentRefs: [{name: edge}]
  hostnames: [filter.test]
  rules:
    - filters:
        - type: ExternalAuth
          externalAuth:
            protocol: GRPC
            backendRef: {name: checker, port: 9000}
            forwardBody: {maxSize: 4}
            grpc: {}
      backendRefs: [{name: echo, port: 80}]
"""


class Echo(http.server.BaseHTTPRequestHandler):
    """Backend that responds with the request that it has received."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("content-length", 0))
        seen = {"path": self.path, "body": self.rfile.read(length).decode(),
                "headers": [[k.lower(), v] for k, v in self.headers.items()]}
        body = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


class Checker(external_auth_pb2_grpc.AuthorizationServicer):
    """Authorization service that allows requests with the token `good`."""

    def __init__(self):
        self.calls = []

    def Check(self, request, context):
        self.calls.append(json_format.MessageToDict(request))
        http = request.attributes.request.http
        token = http.headers.get("authorization", "")
        if token == "Bearer slow":
            time.sleep(2)
        if token == "Bearer broken":
            context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
        header = lambda name, value: base_pb2.HeaderValueOption(
            header=base_pb2.HeaderValue(key=name, value=value))
        if token != "Bearer good":
            return external_auth_pb2.CheckResponse(
                status=status_pb2.Status(code=16),
                denied_response=external_auth_pb2.DeniedHttpResponse(
                    status=http_status_pb2.HttpStatus(code=401), body="who are you?",
                    headers=[header("www-authenticate", "Bearer"), header("set-cookie", "a=b"),
                             header("set-cookie", "c=d")]))
        return external_auth_pb2.CheckResponse(
            status=status_pb2.Status(code=0),
            ok_response=external_auth_pb2.OkHttpResponse(
                headers=[header("x-user", "ada")], headers_to_remove=["authorization"],
                response_headers_to_add=[header("x-checked", "yes")]))


class Client:
    """Client of the gateway."""

    def __init__(self, port):
        self.port = port

    def send(self, host, path="/", method="GET", body=None, headers=()):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in [("host", host), *headers]:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: expected {wanted!r}, got {got!r}")


def values(seen, name):
    return [value for known, value in json.loads(seen)["headers"] if known == name]


def with_oauth2_proxy(client):
    """Tests the sign-in page, a login with a password, and requests with the cookie of the login."""
    html = ("accept", "text/html")
    status, headers, page = client.send("login.test", "/a?b=c", headers=[html])
    expect("without a session", (status, "<form" in page), (403, True))
    expect("type of the page", headers["content-type"].split(";")[0], "text/html")
    form = urllib.parse.urlencode({"username": "ada", "password": "wrong"}).encode()
    encoded = ("content-type", "application/x-www-form-urlencoded")
    status, headers, _ = client.send("login.test", "/oauth2/sign_in", "POST", form, [encoded])
    expect("a wrong password", "_oauth2_proxy=" in str(headers.get_all("set-cookie")), False)
    form = urllib.parse.urlencode({"username": "ada", "password": "pass", "rd": "/a?b=c"}).encode()
    status, headers, _ = client.send("login.test", "/oauth2/sign_in", "POST", form, [encoded])
    expect("a login", (status, headers["location"]), (302, "/a?b=c"))
    cookie = headers["set-cookie"].split(";")[0]
    expect("the session's cookie", cookie.startswith("_oauth2_proxy="), True)
    forged = [("cookie", cookie), ("x-auth-request-user", "root"), ("x-auth-request-email", "root@test")]
    status, _, seen = client.send("login.test", "/a?b=c", headers=forged)
    expect("with a session", status, 200)
    expect("the user", values(seen, "x-auth-request-user"), ["ada"])
    expect("a forged field that the service does not set", "root@test" in seen, False)
    status, _, seen = client.send("login.test", "/", "POST", b"some text", [("cookie", cookie)])
    expect("a body", (status, json.loads(seen)["body"]), (200, "some text"))
    status, _, _ = client.send("login.test", "/", "POST", b"x" * 5000, [("cookie", cookie)])
    expect("a body over the limit", status, 413)
    status, _, _ = client.send("login.test", headers=[("cookie", cookie[:-9] + "AAAAAAAAA"), html])
    expect("a cookie that was changed", status, 403)


def with_grpc(client, checker):
    """Tests decisions of the gRPC service."""
    good = ("authorization", "Bearer good")
    status, headers, body = client.send("check.test", "/a?b=c")
    expect("a denial", (status, body, headers["www-authenticate"]), (401, "who are you?", "Bearer"))
    expect("its cookies", headers.get_all("set-cookie"), ["a=b", "c=d"])
    status, headers, seen = client.send("check.test", "/a?b=c", "POST", b"text", [good, ("x-user", "root")])
    expect("permission", (status, headers["x-checked"]), (200, "yes"))
    expect("fields of the service", (values(seen, "x-user"), values(seen, "authorization")), (["ada"], []))
    expect("the body at the backend", json.loads(seen)["body"], "text")
    asked = checker.calls[-1]["attributes"]
    said = asked["request"]["http"]
    expect("the request", (said["method"], said["path"], said["host"], said["body"], said["size"]),
           ("POST", "/a?b=c", "check.test", "text", "4"))
    expect("the context", asked["contextExtensions"], {"tier": "gold"})
    expect("the client", asked["source"]["address"]["socketAddress"]["address"], "127.0.0.1")
    resource = asked["routeMetadataContext"]["filterMetadata"]["envoy-gateway"]["resources"][0]
    expect("the route", resource,
           {"kind": "HTTPRoute", "name": "check", "namespace": "apps", "sectionName": "main"})
    status, _, _ = client.send("check.test", "/", "POST", b"x" * 65, [good])
    expect("a body over the limit", status, 413)
    raw = b"\xff\x00"
    status, _, _ = client.send("check.test", "/", "POST", raw, [("authorization", "no")])
    http_request = checker.calls[-1]["attributes"]["request"]["http"]
    expect("bytes", base64.b64decode(http_request["rawBody"]), raw)
    for token in ["slow", "broken"]:
        status, _, body = client.send("check.test", headers=[("authorization", f"Bearer {token}")])
        expect(f"a {token} service", (status, body), (403, ""))
    status, _, _ = client.send("filter.test")
    expect("a denial by the filter", status, 401)
    status, _, seen = client.send("filter.test", "/", "POST", b"longer", [good])
    expect("permission by the filter", (status, json.loads(seen)["body"]), (200, "longer"))
    said = checker.calls[-1]["attributes"]["request"]["http"]
    expect("its truncated body", (said["body"], said["headers"]["x-envoy-auth-partial-body"]), ("long", "true"))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for(port):
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"nothing listens on port {port}")


def main(binary, oauth2_proxy):
    work = pathlib.Path(tempfile.mkdtemp())
    (work / "manifests").mkdir()
    (work / "manifests" / "all.yaml").write_text(MANIFESTS)
    echo = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=echo.serve_forever, daemon=True).start()
    checker = Checker()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    external_auth_pb2_grpc.add_AuthorizationServicer_to_server(checker, server)
    grpc_port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    proxy_port, port = free_port(), free_port()
    processes = []
    try:
        if oauth2_proxy:
            digest = base64.b64encode(hashlib.sha1(b"pass").digest()).decode()
            (work / "users").write_text(f"ada:{{SHA}}{digest}\n")
            processes.append(subprocess.Popen([
                oauth2_proxy, f"--http-address=127.0.0.1:{proxy_port}", "--reverse-proxy", "--provider=github",
                "--client-id=none", "--client-secret=none", "--email-domain=*", "--upstream=static://200",
                "--cookie-secret=0123456789abcdef", "--cookie-secure=false", "--set-xauthrequest",
                f"--htpasswd-file={work / 'users'}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            wait_for(proxy_port)
        endpoints = {"echo:80": echo.server_port, "oauth2-proxy:4180": proxy_port, "checker:9000": grpc_port}
        arguments = [f"--endpoint=apps/{name}=127.0.0.1:{at}" for name, at in endpoints.items()]
        processes.append(subprocess.Popen([
            binary, "run", str(work / "manifests"), "--bind", "127.0.0.1", "--port", f"80={port}", "--admin", "off",
            "--access-log", "off", "--quiet", *arguments]))
        wait_for(port)
        client = Client(port)
        with_grpc(client, checker)
        if oauth2_proxy:
            with_oauth2_proxy(client)
    finally:
        for process in processes:
            process.terminate()
        server.stop(0)
    print("external authorization: a gRPC service", "and oauth2-proxy decide" if oauth2_proxy else "decides")


main(*sys.argv[1:])
