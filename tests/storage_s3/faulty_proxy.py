"""A proxy on a real socket that passes requests on to a server, except where it is told not to."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, NamedTuple

# What may happen to a request:
#   an HTTP status: the server is not asked, and the client is told this
#   "drop": the server is not asked, and the connection is closed
#   "lose": the server does it, but the connection is closed without an answer
#   "cut": the server does it, and the connection is closed in the middle of the answer's body
#   "slow": the answer comes `Proxy.slow_seconds` late
#   "hold": the server is not asked, and the connection is closed when `Proxy.let_go` is set
Fault = int | Literal["drop", "lose", "cut", "slow", "hold"]

# Half of it must be ample for an honest answer, on a machine with much else to do.
SLOW_SECONDS = 4.0
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}


class Request(NamedTuple):
    """What a client has asked for."""

    method: str
    path: str


@dataclass
class Proxy:
    """A running proxy."""

    url: str
    requests: list[Request] = field(default_factory=list)
    fault_of: Callable[[int, Request], Fault | None] | None = None
    slow_seconds: float = SLOW_SECONDS
    let_go: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault_at(self, number: int, fault: Fault) -> None:
        """Forget what was asked so far, and let one request fail, by its number."""
        self.forget()
        self.fault_of = lambda at, _: fault if at == number else None

    def forget(self) -> None:
        """Pass everything on, and forget what was asked so far."""
        self.fault_of = None
        self.requests.clear()


@contextmanager
def faulty_proxy(server_host: str, server_port: int) -> Iterator[Proxy]:
    """Start a proxy before a server on this machine; it ends with the context."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def pass_on(self) -> None:
            request = Request(self.command, self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with proxy.lock:
                number = len(proxy.requests)
                proxy.requests.append(request)
                fault = proxy.fault_of(number, request) if proxy.fault_of else None
            if isinstance(fault, int):
                self.refuse(fault)
                return
            if fault in ("drop", "hold"):
                if fault == "hold":
                    proxy.let_go.wait()
                self.close_connection = True
                return
            upstream = http.client.HTTPConnection(server_host, server_port, timeout=30)
            headers = {key: value for key, value in self.headers.items() if key != "Expect"}
            upstream.request(request.method, request.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
            upstream.close()
            if fault == "slow":
                time.sleep(proxy.slow_seconds)
            if fault == "lose":
                self.close_connection = True
                return
            self.send_response_only(answer.status)
            for key, value in answer.getheaders():
                if key.lower() not in _HOP_BY_HOP:
                    self.send_header(key, value)
            self.end_headers()
            if fault == "cut":
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True
                return
            self.wfile.write(content)

        def refuse(self, status: int) -> None:
            code = {503: "SlowDown", 403: "AccessDenied"}.get(status, "InternalError")
            content = (
                f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>"
            ).encode()
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Say nothing of clients that have hung up."""

    listener = Server(("127.0.0.1", 0), Handler)
    proxy = Proxy(f"http://127.0.0.1:{listener.server_port}")
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.let_go.set()
        listener.shutdown()
        listener.server_close()
