"""Which errors of a storage are worth another attempt."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

# The other side was busy or out of reach. Whatever concerns space, permission, names or a broken
# disk stays as it is, however often one tries.
_NUMBERS = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.EPIPE,
        errno.ESTALE,
        errno.ETIMEDOUT,
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
        "ServerDisconnectedError",
        "ServerTimeoutError",
    }
)


def is_transient(error: BaseException) -> bool:
    """Tell whether an error, or one that it was raised from, may be gone at the next attempt.

    Connections that fail or time out, and answers by which a server says that it is busy
    (throttling, HTTP 408, 425, 429 and 5xx of S3, Google Cloud Storage, Azure or plain HTTP).
    """
    return any(_says_later(one) for one in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (
            None if current.__suppress_context__ else current.__context__
        )


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
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        candidate = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        candidate = getattr(error, "status", None) or getattr(error, "status_code", None)
        candidate = candidate or getattr(error, "code", None)
    try:
        return int(candidate) if candidate is not None else None
    except (TypeError, ValueError):
        return None
