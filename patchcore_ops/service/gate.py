"""What every request passes: the token, the headers of every answer, and the count of it."""

from __future__ import annotations

import hmac
import time
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from patchcore_ops.service.metrics import Metrics
from patchcore_ops.service.settings import TOKEN_VARIABLE

# Hold nothing but what the package holds, or nothing at all.
_OPEN: Final = frozenset({"/", "/docs", "/openapi.json"})
_OPEN_FOLDERS: Final = ("/page/", "/health/")
_UNKNOWN_ROUTE: Final = "other"
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Gate:
    """The outermost layer of the service.

    But for the page and the health, `Authorization: Bearer` must name the token, if there is one.
    """

    def __init__(self, app: ASGIApp, token: str | None, metrics: Metrics) -> None:
        self._app = app
        self._token = None if token is None else token.encode()
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer 401."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            app = self._app if self._is_allowed(scope) else _REFUSAL
            await app(scope, receive, send_on)
        finally:
            route = getattr(scope.get("route"), "path", _UNKNOWN_ROUTE)
            self._metrics.request(route, status, time.perf_counter() - started)

    def _is_allowed(self, scope: Scope) -> bool:
        path: str = scope["path"]
        if self._token is None or path in _OPEN or path.startswith(_OPEN_FOLDERS):
            return True
        kind, _, sent = Headers(scope=scope).get("authorization", "").partition(" ")
        # Starlette reads headers as Latin-1: these are the bytes that were sent.
        given = sent.strip().encode("latin-1")
        return kind.lower() == "bearer" and hmac.compare_digest(given, self._token)


_REFUSAL = JSONResponse(
    {
        "detail": "this service asks for a token; send the header Authorization: Bearer TOKEN, "
        f"with what {TOKEN_VARIABLE} is where the service runs"
    },
    401,
    {"WWW-Authenticate": "Bearer"},
)
