"""Which errors of a storage are worth another attempt."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any

# The other side was busy or out of reach, beyond what ConnectionError and TimeoutError stand for.
# Whatever concerns space, permission, names or a broken disk stays as it is, however often one
# tries.
_NUMBERS = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.ESTALE,
    }
)
_HTTP_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
# What storage clients raise that is no OSError, by name: none of them need be installed.
_NAMES = frozenset(
    {
        "ClientConnectionError",
        "ClientPayloadError",
        "ConnectionClosedError",
        "ConnectTimeoutError",
        "EndpointConnectionError",
        "IncompleteReadError",
        "ReadTimeoutError",
        "ResponseStreamingError",
    }
)


def is_transient(error: BaseException) -> bool:
    """Tell whether an error, or one that it was raised from, may be gone at the next attempt.

    Connections that fail or time out, and answers by which a server says that it is busy
    (throttling, HTTP 408, 425, 429 and 5xx of S3, Google Cloud Storage, Azure or plain HTTP).
    """
    return any(_says_later(one) for one in chain_of(error))


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """Walk from an error to what it was raised from, and to what was being handled then."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (
            None if current.__suppress_context__ else current.__context__
        )


def response_of(error: BaseException) -> dict[str, Any]:
    """Return the answer that botocore's error carries; empty for any other."""
    response = getattr(error, "response", None)
    return response if isinstance(response, dict) else {}


def _says_later(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    if isinstance(error, OSError) and error.errno in _NUMBERS:
        return True
    return _status(error) in _HTTP_STATUS or any(
        kind.__name__ in _NAMES for kind in type(error).__mro__
    )


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that a client's error carries, wherever that client puts it."""
    found = response_of(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    for name in ("status", "status_code", "code"):
        found = found or getattr(error, name, None)
    return int(found) if str(found).isdigit() else None
