"""Whatever is sent gets a sentence, and the service goes on."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import socket
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from model_kit import Benchmarked
from PIL import Image
from png_kit import png_of
from service_kit import PREDICT, Service, serving

from patchcore_ops.service.settings import Limits, ServiceSettings

LIMITS = Limits(body_bytes=200_000, pixels=90_000, images=3, seconds=1.0)
CLIENTS = 300


@pytest.fixture(scope="module")
def limited(models: Path) -> Iterator[Service]:
    with serving(ServiceSettings(models, limits=LIMITS)) as running:
        yield running


@pytest.fixture(autouse=True)
def lives(limited: Service, image: bytes) -> Iterator[None]:
    """After each test, the service answers as before."""
    yield
    assert limited.ask(PREDICT, image).status == 200
    assert limited.ask("/health/live").json == {"status": "live"}


@pytest.fixture(scope="module")
def image(single: Benchmarked) -> bytes:
    return single.images[0].read_bytes()


def encoded(mode: str, kind: str, size: tuple[int, int] = (64, 64)) -> bytes:
    stream = io.BytesIO()
    values = np.arange(size[0] * size[1], dtype=np.uint16).reshape(size[1], size[0])
    picture = Image.fromarray(values) if mode == "I;16" else Image.new(mode, size, 7)
    picture.save(stream, kind)
    return stream.getvalue()


def bomb() -> bytes:
    """Return a PNG of 60,000 x 60,000 pixels in a kilobyte."""
    return png_of(60_000, 60_000, zlib.compress(bytes(1_000_000)))


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"", 400, "the body is empty; send the bytes of an image"),
        (b"words, not an image", 422, "image: is none of PNG, JPEG, BMP, TIFF and WebP by its"),
        (bomb(), 422, "image: has 60000 x 60000 = 3,600,000,000 pixels, more than the limit of 90"),
        (encoded("RGB", "PNG")[:-40], 422, "image: cannot be decoded as an image"),
        (encoded("RGB", "PNG", (12, 2000)), 422, "image: has 12 x 2000 pixels, more than 100"),
        (bytes(200_001), 413, "the body has more than 0.190735 MB; send fewer or smaller images"),
    ],
    ids=["nothing", "text", "bomb", "cut off", "aspect", "bytes"],
)
def test_what_cannot_be_used_is_said(
    limited: Service, content: bytes, status: int, said: str
) -> None:
    answer = limited.ask(PREDICT, content)
    assert answer.status == status
    assert answer.detail.startswith(said)
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "content",
    [encoded("CMYK", "JPEG"), encoded("I;16", "PNG"), encoded("P", "PNG"), encoded("RGB", "WEBP")],
    ids=["CMYK", "16 bits", "palette", "WebP"],
)
def test_unusual_images_are_scored(limited: Service, content: bytes) -> None:
    assert limited.ask(PREDICT, content).json["score"] > 0


def test_a_large_upload_of_unknown_length_is_refused(limited: Service) -> None:
    with limited.open() as connection:
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        part = b"%x\r\n" % 100_000 + bytes(100_000) + b"\r\n"
        connection.sendall(3 * part + b"0\r\n\r\n")
        assert answer_of(connection).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"--x--\r\n", 400, "the form has no file; add images as parts with a file name"),
        (b"no form", 400, "the form cannot be read: "),
        (
            b'--x\r\nContent-Disposition: form-data; name="i"; filename="a"\r\n\r\n',
            400,
            "the form",
        ),
        (
            4 * b'--x\r\nContent-Disposition: form-data; name="i"; filename="a"\r\n\r\n-\r\n',
            413,
            "a request takes up to 3 images; send several requests",
        ),
    ],
    ids=["no file", "no form", "cut off", "images"],
)
def test_forms_that_cannot_be_used_are_refused(
    limited: Service, body: bytes, status: int, said: str
) -> None:
    answer = limited.ask(PREDICT, body, {"Content-Type": "multipart/form-data; boundary=x"})
    assert (answer.status, answer.detail[: len(said)]) == (status, said)


def test_a_form_without_any_usable_image_is_an_error(limited: Service) -> None:
    answer = limited.post_form([("a.png", b""), ("b.png", b"words")])
    assert answer.status == 422
    first, second = answer.json["predictions"]
    assert first == {"name": "a.png", "detail": "a.png: is empty (0 bytes); send the image itself"}
    assert second["name"] == "b.png"


def answer_of(connection: socket.socket) -> bytes:
    connection.settimeout(30)
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65536)
        if not part:
            break
        received += part
    return received


def test_a_slow_upload_ends_in_time(limited: Service, image: bytes) -> None:
    started = time.monotonic()
    with limited.open() as connection:
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(image)}\r\n\r\n"
        connection.sendall(head.encode() + image[:100])
        answer = answer_of(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert LIMITS.seconds <= time.monotonic() - started < LIMITS.seconds + 5


def test_an_upload_that_ends_early_harms_nobody(limited: Service, image: bytes) -> None:
    for _ in range(20):
        with limited.open() as connection:
            head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(image)}\r\n\r\n"
            connection.sendall(head.encode() + image[:100])
    metrics = limited.ask("/metrics").body.decode()
    assert 'status="500"' not in metrics


def test_many_clients_at_once_are_all_answered(limited: Service, image: bytes) -> None:
    """Each gets its score or is asked to try again; none is left alone."""

    async def ask() -> tuple[int, bool]:
        reader, writer = await asyncio.open_connection("127.0.0.1", limited.port)
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {len(image)}\r\n\r\n".encode() + image)
        answer = await reader.read()
        writer.close()
        headers, _, body = answer.partition(b"\r\n\r\n")
        status = int(headers.split()[1])
        if status == 200:
            return status, "score" in json.loads(body)
        return status, b"retry-after: 2" in headers.lower() and b"try again" in body

    async def ask_all() -> list[tuple[int, bool]]:
        return await asyncio.gather(*[ask() for _ in range(CLIENTS)])

    answers = asyncio.run(ask_all())
    assert len(answers) == CLIENTS
    assert all(is_clear for _, is_clear in answers)
    assert {status for status, _ in answers} <= {200, 503}
    assert (200, True) in answers


def test_a_full_queue_sends_away(models: Path, image: bytes) -> None:
    limits = Limits(images=2, waiting_images=2)
    # Long enough that the first request's images are still waiting.
    with (
        serving(ServiceSettings(models, limits=limits, batch_seconds=1.0)) as service,
        ThreadPoolExecutor(1) as clients,
    ):
        first = clients.submit(service.post_form, [("a", image), ("b", image)])
        until = time.monotonic() + 10
        while b"patchcore_queue_images 2.0" not in service.ask("/metrics").body:
            assert time.monotonic() < until
        second = service.ask(PREDICT, image)
        assert second.status == 503
        assert second.headers["retry-after"] == "2"
        assert second.detail == "the queue is full; try again in 2 s"
        assert first.result().status == 200


def test_clients_that_go_and_requests_that_end_late_are_no_errors(
    models: Path, image: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    # A batch waits for so long that each request ends before.
    settings = ServiceSettings(models, limits=Limits(seconds=0.3), batch_seconds=1.0)
    with serving(settings) as service:
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(image)}\r\n\r\n"
        for _ in range(3):
            with service.open() as connection:
                connection.sendall(head.encode() + image)
            assert service.ask(PREDICT, image).status == 503
        gc.collect()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_no_more_bytes_are_held_than_may_be(models: Path, image: bytes) -> None:
    limits = Limits(held_bytes=len(image) + 10)
    with serving(ServiceSettings(models, limits=limits)) as service:
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(image)}\r\n\r\n"
        with service.open() as connection:
            connection.sendall(head.encode() + image[:-1])
            until = time.monotonic() + 10
            while service.ask(PREDICT, image).status != 503:
                assert time.monotonic() < until
        # The client has gone, and its place is free.
        while service.ask(PREDICT, image).status != 200:
            assert time.monotonic() < until


def test_a_token_is_asked_for(models: Path, image: bytes) -> None:
    with serving(ServiceSettings(models, token="sesame")) as service:
        refused = service.ask(PREDICT, image)
        assert refused.status == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert "PATCHCORE_TOKEN" in refused.detail
        for wrong in ("Bearer open", "Bearer ", "Basic sesame", "Bearer sesame "[:-2], "ä"):
            headers = {"Authorization": wrong}
            assert service.ask(PREDICT, image, headers).status == 401
        for closed in ("/v1/models", "/v1/models/fabric_a", "/metrics", "/nowhere"):
            assert service.ask(closed).status == 401
        for opened in ("/", "/page/service.js", "/health/live", "/health/ready", "/openapi.json"):
            assert service.ask(opened).status == 200
        assert service.ask(PREDICT, image, {"Authorization": "Bearer sesame"}).status == 200


def test_an_idle_connection_is_closed(
    models: Path, image: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patchcore_ops.service.server._IDLE_SECONDS", 0.2)
    with serving(ServiceSettings(models)) as service:
        for sent in (b"", b"POST / HTTP/1.1\r\nHo"):
            with service.open() as connection:
                connection.sendall(sent)
                connection.settimeout(10)
                assert connection.recv(1) == b""
        # Not one whose request is being worked on.
        with service.open() as connection:
            head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(image)}\r\n\r\n"
            connection.sendall(head.encode() + image[:100])
            time.sleep(0.6)
            connection.sendall(image[100:])
            assert answer_of(connection).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_takes_no_answers_is_sent_away(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patchcore_ops.service.server._IDLE_SECONDS", 0.2)
    with serving(ServiceSettings(models)) as service, service.open() as connection:
        connection.setblocking(False)
        until = time.monotonic() + 30
        with pytest.raises(ConnectionError):
            while time.monotonic() < until:
                try:
                    connection.send(b"GET /docs HTTP/1.1\r\nHost: a\r\n\r\n")
                except BlockingIOError:
                    time.sleep(0.02)
