"""The service as a process: one listener, one worker, an orderly end."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from patchcore_ops.runtime.errors import EnvironmentProblem
from patchcore_ops.service.application import create_application
from patchcore_ops.service.settings import TOKEN_VARIABLE, ServiceSettings

_LOG = logging.getLogger(__name__)
_BACKLOG = 1024
# Without a request, in the middle of its headers, or of an answer that nobody takes.
_IDLE_SECONDS = 15.0


def serve(
    settings: ServiceSettings, host: str, port: int, on_listening: Callable[[str], None]
) -> None:
    """Serve until SIGTERM or SIGINT; requests that have begun are answered first.

    Port 0 takes a free one. `on_listening` is called with the service's URL. Raises
    EnvironmentProblem if there is no model, or the address cannot be had.
    """
    server = server_of(settings)
    with _listener(host, port) as listener:
        url = _url(host, listener.getsockname()[1])
        if settings.token is None and not _is_loopback(host):
            _LOG.warning(
                "%s: everyone who reaches this address can use the service; set %s, and put a "
                "proxy with TLS before it (docs/serving.md)",
                url,
                TOKEN_VARIABLE,
            )

        def end(*_: object) -> None:
            server.should_exit = True

        # uvicorn sees signals only once it runs; it ends in order, then raises them again.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        on_listening(url)
        server.run([listener])


def server_of(settings: ServiceSettings) -> uvicorn.Server:
    """Make the server, which `run` starts with a listening socket.

    Raises EnvironmentProblem if there is no model.
    """
    return uvicorn.Server(
        uvicorn.Config(
            create_application(settings),
            http=_PatientForAWhile,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=int(settings.limits.seconds) + 1,
        )
    )


def _listener(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise EnvironmentProblem(
            f"{host}:{port}: cannot be listened to ({reason}); name another --port or --host"
        ) from None


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _PatientForAWhile(H11Protocol):
    """uvicorn's protocol, which closes connections on which no request comes or goes on.

    uvicorn itself waits for ever for the headers of a request, for the rest of a body that has
    been answered already, and for clients that take no answer.
    """

    _seen: RequestResponseCycle | None
    _unsent: int
    _look: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._seen, self._unsent = None, 0
        self._look = self.loop.call_later(_IDLE_SECONDS, self._close_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        self._look.cancel()
        super().connection_lost(exc)

    def _close_if_idle(self) -> None:
        is_idle = self.cycle is None or self.cycle.response_complete
        unsent = self.transport.get_write_buffer_size()
        is_as_before = self.cycle is self._seen and unsent == self._unsent
        is_sending = self.conn.their_state is h11.SEND_BODY
        if is_as_before and (is_idle or unsent):
            self.transport.abort() if unsent or is_sending else self.transport.close()
            return
        self._seen, self._unsent = self.cycle, unsent
        self._look = self.loop.call_later(_IDLE_SECONDS, self._close_if_idle)
