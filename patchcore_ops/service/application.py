"""The service as an ASGI application."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from patchcore_ops.service import assets, routes
from patchcore_ops.service.gate import Gate
from patchcore_ops.service.settings import ServiceSettings
from patchcore_ops.service.state import ServiceState

_VERSION = "1"


def create_application(settings: ServiceSettings) -> ASGIApp:
    """Make the application of a service; its lifespan loads the models and scores.

    Raises EnvironmentProblem if there is no model where the settings say.
    """
    state = ServiceState(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with state.running():
            yield

    # FastAPI's own pages load scripts from elsewhere.
    application = FastAPI(
        title="PatchCore",
        version=_VERSION,
        description="Anomaly detection in images: a score, a verdict and where to look.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    application.state.service = state
    for router in (routes.models, routes.health, routes.monitoring, assets.router):
        application.include_router(router)
    application.add_exception_handler(RequestValidationError, _malformed)
    application.add_exception_handler(ClientDisconnect, _gone)
    application.add_exception_handler(Exception, _defect)
    return Gate(application, settings.token, state.metrics)


async def _malformed(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it alone
    first = error.errors()[0]
    return JSONResponse({"detail": f"{first['loc'][-1]}: {first['msg']}"}, 422)


async def _gone(_: Request, __: Exception) -> Response:
    """Count as nginx does; nobody reads it."""
    return Response(json.dumps({"detail": "the client has gone"}), 499)


async def _defect(_: Request, __: Exception) -> Response:
    return JSONResponse({"detail": "the service failed; its log says why"}, 500)
