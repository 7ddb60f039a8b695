"""Which storage errors are worth another attempt."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from patchcore_assets.storage import is_transient


class ClientError(Exception):
    """As botocore raises it."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


class HttpError(Exception):
    """As gcsfs and aiohttp raise it: the status is an attribute, a number or a text."""

    def __init__(self, **attributes: object) -> None:
        super().__init__("failed")
        self.__dict__.update(attributes)


class EndpointConnectionError(Exception):
    """As botocore raises it, where it is installed."""


class Slow(EndpointConnectionError):
    """A kind of it."""


def of(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError("reset"),
        BrokenPipeError("broken"),
        TimeoutError("slow"),
        *(of(number) for number in (errno.EBUSY, errno.ESTALE, errno.ENETUNREACH)),
        socket.gaierror(socket.EAI_AGAIN, "try again"),
        ClientError(503, "SlowDown"),
        ClientError(429, "TooManyRequests"),
        ClientError(500, "InternalError"),
        *(HttpError(**answer) for answer in ({"code": 503}, {"code": "429"}, {"status": 502})),
        EndpointConnectionError("no answer"),
        Slow("no answer"),
        raised_from(OSError(errno.EIO, "as s3fs translates it"), ClientError(500, "InternalError")),
        raised_from(RuntimeError("while uploading"), of(errno.ETIMEDOUT)),
    ],
    ids=repr,
)
def test_busy_or_out_of_reach_is_transient(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        *(of(number) for number in (errno.ENOSPC, errno.EACCES, errno.EIO, errno.EROFS)),
        FileNotFoundError(errno.ENOENT, "gone"),
        PermissionError("not yours"),
        socket.gaierror(socket.EAI_NONAME, "no such host"),
        ClientError(403, "AccessDenied"),
        ClientError(404, "NoSuchBucket"),
        *(HttpError(**answer) for answer in ({"code": 404}, {"code": "e3q8"}, {"response": "x"})),
        ValueError("wrong"),
        MemoryError(),
        RuntimeError("CUDA out of memory"),
    ],
    ids=repr,
)
def test_what_stays_as_it_is_is_not_transient(error: Exception) -> None:
    assert not is_transient(error)


def test_a_circle_of_causes_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert not is_transient(first)


def test_a_cause_that_was_set_aside_does_not_count() -> None:
    try:
        try:
            raise ConnectionResetError("reset")
        except ConnectionResetError:
            raise ValueError("wrong, whatever happened before") from None
    except ValueError as error:
        assert not is_transient(error)
