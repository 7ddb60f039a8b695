"""What the tests of the service share: a real server on a free port, and models to serve."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from patchcore_ops.model import ModelDescription, read_model, write_model
from patchcore_ops.model.description import ModelDraft
from patchcore_ops.service.server import server_of
from patchcore_ops.service.settings import ServiceSettings

PREDICT = "/v1/models/fabric_a/predict"


class Answer(NamedTuple):
    """A response, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def detail(self) -> str:
        return str(self.json["detail"])


@dataclass(frozen=True)
class Service:
    """A service that runs in this process."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET" if body is None else "POST", path, body, dict(headers or {}))
            response = connection.getresponse()
            lower = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, lower, response.read())
        finally:
            connection.close()

    def post_form(self, files: list[tuple[str, bytes]], path: str = PREDICT) -> Answer:
        parts = b"".join(
            b"--limit\r\nContent-Disposition: form-data; "
            + f'name="images"; filename="{name}"\r\n\r\n'.encode()
            + content
            + b"\r\n"
            for name, content in files
        )
        kind = {"Content-Type": "multipart/form-data; boundary=limit"}
        return self.ask(path, parts + b"--limit--\r\n", kind)

    def open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def wait_until_ready(self) -> None:
        until = time.monotonic() + 60
        while self.ask("/health/ready").status != 200:
            assert time.monotonic() < until, "the models are not loaded"
            time.sleep(0.02)


@contextmanager
def serving(settings: ServiceSettings, ready: bool = True) -> Iterator[Service]:
    """Serve in a thread of this process."""
    server = server_of(settings)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            service = Service(listener.getsockname()[1])
            if ready:
                service.wait_until_ready()
            yield service
        finally:
            server.should_exit = True
            thread.join()


def copy_of(model: Path, folder: Path, false_positive_rate: float) -> ModelDescription:
    """Copy a model with another false-positive rate, so that it is another version."""
    shutil.copytree(model, folder, dirs_exist_ok=True)
    description = read_model(folder)
    assert description.calibration is not None
    draft = ModelDraft(**{name: getattr(description, name) for name in ModelDraft.model_fields})
    calibration = description.calibration.model_copy(
        update={"false_positive_rate": false_positive_rate}
    )
    return write_model(folder, draft.model_copy(update={"calibration": calibration}))
