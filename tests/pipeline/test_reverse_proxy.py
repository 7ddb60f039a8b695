"""The reverse proxy of docs/security.md: the file as it is written there, run by a real nginx."""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pipeline_kit import make_site
from webserver_process import free_port, webserver

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "security.md"
HOST = "benchmark.example.com"
ASSETS = "{ assetNodes { assetKey { path } } }"
PASSWORD = "correct horse"
AUTHORISED = {"Authorization": "Basic " + base64.b64encode(b"alice:correct horse").decode()}
SUBSCRIPTION = "subscription { locationStateChangeEvents { event { eventType } } }"
ORIGIN = f"https://{HOST}"

pytestmark = pytest.mark.skipif(
    not (shutil.which("nginx") and shutil.which("openssl")), reason="nginx is not installed"
)


@pytest.fixture(scope="module")
def proxy(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run webserver and proxy; return the proxy's port."""
    folder = tmp_path_factory.mktemp("proxy")
    site = make_site(folder, tiny_dataset)
    port = free_port()
    with webserver(site.home, site.environment) as server:
        configuration = write_configuration(folder, server.url, port)
        process = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(configuration)])
        try:
            wait_for_port(port, process)
            yield port
        finally:
            process.terminate()
            process.wait(10)


def write_configuration(folder: Path, url: str, port: int) -> Path:
    """Write the guide's server with this machine's ports and a certificate of its own."""
    [server] = re.findall(r"```nginx\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    server = server.replace("http://127.0.0.1:3000", url).replace("/etc/nginx/", f"{folder}/")
    server = server.replace("listen 443", f"listen 127.0.0.1:{port}")
    (folder / "benchmark.users").write_text(f"alice:{{PLAIN}}{PASSWORD}\n")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"),
            *("-keyout", str(folder / "benchmark.key"), "-out", str(folder / "benchmark.crt")),
        ],
        check=True,
        capture_output=True,
    )
    whole = folder / "nginx.conf"
    whole.write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; user root;\n"
        f"events {{}}\nhttp {{ access_log off; client_body_temp_path {folder}/body;\n"
        f"proxy_temp_path {folder}/temp; fastcgi_temp_path {folder}/a;\n"
        f"uwsgi_temp_path {folder}/b; scgi_temp_path {folder}/c;\n{server}}}\n"
    )
    return whole


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        assert process.poll() is None, "nginx has ended"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError("nginx does not listen")


def trusting() -> ssl.SSLContext:
    """Return a context that takes the certificate that was made here."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def status(port: int, path: str = "/", data: bytes | None = None, **headers: str) -> int:
    """Send a request and return its status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(
        f"https://127.0.0.1:{port}{path}", data, {"Host": HOST, **named}
    )
    try:
        with urllib.request.urlopen(request, timeout=20, context=trusting()) as response:
            response.read()
            return int(response.status)
    except urllib.error.HTTPError as refusal:
        return refusal.code


def test_a_password_is_needed(proxy: int) -> None:
    assert status(proxy) == 401
    assert status(proxy, "/graphql?query=" + urllib.parse.quote(ASSETS)) == 401
    wrong = "Basic " + base64.b64encode(b"alice:wrong").decode()
    assert status(proxy, Authorization=wrong) == 401
    assert status(proxy, **AUTHORISED) == 200


QUESTION = json.dumps({"query": ASSETS}).encode()
JSON = {"Content_Type": "application/json"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"Origin": ORIGIN, "Sec_Fetch_Site": "same-origin"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
    ],
)
def test_what_other_sites_send_is_refused(
    proxy: int, headers: dict[str, str], expected: int
) -> None:
    assert status(proxy, "/graphql", QUESTION, **JSON, **AUTHORISED, **headers) == expected
    by_address = "/graphql?query=" + urllib.parse.quote(ASSETS)
    assert status(proxy, by_address, **AUTHORISED, **headers) == expected


def test_another_host_name_is_nobodys(proxy: int) -> None:
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        status(proxy, Host="evil.example", **AUTHORISED)


def test_subscriptions_pass_through_the_proxy(proxy: int) -> None:
    client = pytest.importorskip("websockets.sync.client")
    from websockets.exceptions import InvalidStatus
    from websockets.typing import Subprotocol

    def connect(**headers: str):  # type: ignore[no-untyped-def]
        return client.connect(
            f"wss://{HOST}:{proxy}/graphql",
            sock=socket.create_connection(("127.0.0.1", proxy), 10),
            ssl=trusting(),
            additional_headers=headers,
            subprotocols=[Subprotocol("graphql-ws")],
            proxy=None,
        )

    for refused, code in (
        ({}, 401),
        ({**AUTHORISED, "Origin": "https://evil.example"}, 403),
    ):
        with pytest.raises(InvalidStatus) as refusal:
            connect(**refused)
        assert refusal.value.response.status_code == code
    with connect(**AUTHORISED, Origin=ORIGIN) as channel:
        channel.send(json.dumps({"type": "connection_init"}))
        assert json.loads(channel.recv(10))["type"] == "connection_ack"
        channel.send(json.dumps({"type": "start", "id": "1", "payload": {"query": SUBSCRIPTION}}))
        # Nothing changes here, so nothing is told; an error or a closed channel would be.
        with pytest.raises(TimeoutError):
            channel.recv(1)
