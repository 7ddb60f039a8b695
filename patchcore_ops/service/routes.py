"""What the service answers at each address."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from patchcore_ops.model import EncodedImage, Model, Unreadable
from patchcore_ops.service.answers import (
    HealthAnswer,
    ModelAnswer,
    ModelDetails,
    ModelsAnswer,
    PredictionAnswer,
    PredictionsAnswer,
    Problem,
    UnreadableAnswer,
)
from patchcore_ops.service.batching import Outcome, QueueFull
from patchcore_ops.service.heat_map import layer_of, picture_of
from patchcore_ops.service.metrics import CONTENT_TYPE
from patchcore_ops.service.state import ServiceState
from patchcore_ops.service.uploads import Busy, Upload

_PNG = "image/png"
Category = Annotated[str, Path(description="as in /v1/models")]

_PREDICT_REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bytes of one PNG, JPEG, BMP, TIFF or WebP file, or a form of several.",
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "images": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                }
            },
        },
    }
}
_PREDICT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "What the model says; of several images a list.",
        "model": PredictionAnswer | PredictionsAnswer,
        "content": {_PNG: {}},
    },
    400: {"model": Problem, "description": "Nothing was sent, or a form cannot be read."},
    404: {"model": Problem, "description": "No such category; the sentence names those there are."},
    406: {"model": Problem, "description": "A PNG was asked for several images."},
    408: {"model": Problem, "description": "The body came too slowly."},
    413: {"model": Problem, "description": "More bytes or images than a request may have."},
    422: {"model": Problem, "description": "No image can be used; the sentence says why."},
    503: {"model": Problem, "description": "Too much to do, or not loaded yet; see Retry-After."},
}

_UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "No such category; the sentence names those there are."},
    422: {"model": Problem, "description": "A parameter is not valid."},
    503: {"model": Problem, "description": "Not loaded yet; see Retry-After."},
}
_CLOSED: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "The service asks for a token."}
}

health = APIRouter(prefix="/health", tags=["health"])
models = APIRouter(prefix="/v1/models", tags=["models"], responses=_CLOSED)
monitoring = APIRouter(tags=["monitoring"], responses=_CLOSED)


@health.get("/live", summary="Whether the process answers")
async def live() -> HealthAnswer:
    """Say that the process answers."""
    return HealthAnswer(status="live")


@health.get(
    "/ready",
    summary="Whether every model that was there at the start is loaded",
    responses={503: {"model": HealthAnswer, "description": "A model is not loaded yet."}},
    response_model=HealthAnswer,
)
async def ready(request: Request) -> Response:
    """Say whether every model that was there at the start is loaded: 503 before."""
    is_ready = _state(request).models.ready
    answer = HealthAnswer(status="ready" if is_ready else "loading models")
    return _json(answer, 200 if is_ready else 503)


@monitoring.get("/metrics", summary="For Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    """Give all metrics in the text format of Prometheus."""
    return Response(_state(request).metrics.text(), media_type=CONTENT_TYPE)


@models.get("", summary="The models that are served")
async def list_models(request: Request) -> ModelsAnswer:
    """List every model with its version and thresholds."""
    served = _state(request).models
    found = [(category, served.get(category)) for category in served.categories]
    return ModelsAnswer(
        models=[ModelAnswer.of(name, model.description) for name, model in found if model]
    )


@models.get("/{category}", summary="A model", responses=_UNKNOWN)
async def show_model(request: Request, category: Category) -> ModelDetails:
    """Give a model's thresholds and the scores of normal images."""
    return ModelDetails.of(category, _model(request, category).description)


@models.post(
    "/{category}/predict",
    summary="Score images",
    responses=_PREDICT_RESPONSES,
    openapi_extra=_PREDICT_REQUEST,
    response_class=JSONResponse,
)
async def predict(
    request: Request,
    category: Category,
    heat_map: Annotated[bool, Query(description="add the map as a layer")] = False,
    name: Annotated[str, Query(max_length=256, description="of an image sent alone")] = "image",
) -> Response:
    """Score the images of the body; accept image/png for the heat map over the network's crop."""
    state, model = _state(request), _model(request, category)
    if len(state.queue) >= state.settings.limits.waiting_images:
        raise Busy("the queue is full")
    limits = state.settings.limits
    until = asyncio.get_running_loop().time() + limits.seconds
    with Upload(request, limits, state.held) as upload:
        try:
            async with asyncio.timeout_at(until):
                images = await upload.images(name)
        except TimeoutError:
            raise HTTPException(
                408,
                f"the body did not arrive within {limits.seconds:g} s; send it faster",
                {"Connection": "close"},
            ) from None
        outcomes = await _outcomes(request, model, images, until)
    for outcome in outcomes:
        state.metrics.outcome(category, outcome)
    accepted = request.headers.get("accept", "")
    if _PNG in accepted and "application/json" not in accepted:
        return Response(await _picture(outcomes), media_type=_PNG)
    answers = [await _answer(model, category, outcome, heat_map) for outcome in outcomes]
    usable = any(isinstance(answer, PredictionAnswer) for answer in answers)
    if len(answers) > 1:
        return _json(PredictionsAnswer(predictions=answers), 200 if usable else 422)
    return _json(answers[0], 200 if usable else 422)


def _state(request: Request) -> ServiceState:
    state: ServiceState = request.app.state.service
    return state


def _model(request: Request, category: str) -> Model:
    served = _state(request).models
    model = served.get(category)
    if model is not None:
        return model
    if category in served.awaited:
        raise Busy(f"the model of '{category}' is not loaded yet")
    there = ", ".join(served.categories) or "none yet"
    raise HTTPException(404, f"there is no model of '{category}'; there are: {there}")


async def _outcomes(
    request: Request, model: Model, images: Sequence[EncodedImage], until: float
) -> list[Outcome]:
    """Wait for the results, no longer than the time of the request or the client."""
    try:
        futures = [asyncio.wrap_future(one) for one in _state(request).queue.submit(model, images)]
    except QueueFull:
        raise Busy("the queue is full") from None
    results = asyncio.gather(*futures, return_exceptions=True)
    gone = asyncio.ensure_future(request.receive())
    try:
        left = until - asyncio.get_running_loop().time()
        await asyncio.wait((results, gone), timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if results.done():
            return [one.result() for one in futures]
        if gone.done():
            raise HTTPException(499, "the client has gone")
        raise Busy("the request took too long")
    finally:
        gone.cancel()
        # A gathering that is cancelled itself is reported as an error that nobody has looked at.
        for one in futures:
            one.cancel()


async def _picture(outcomes: Sequence[Outcome]) -> bytes:
    if len(outcomes) > 1:
        raise HTTPException(406, "a PNG shows one image; send one, or accept application/json")
    outcome = outcomes[0]
    if isinstance(outcome, Unreadable):
        raise HTTPException(422, outcome.reason)
    return await asyncio.to_thread(picture_of, outcome)


async def _answer(
    model: Model, category: str, outcome: Outcome, heat_map: bool
) -> PredictionAnswer | UnreadableAnswer:
    if isinstance(outcome, Unreadable):
        return UnreadableAnswer.of(outcome)
    answer = PredictionAnswer.of(outcome, model.description, category)
    if not heat_map:
        return answer
    return answer.with_heat_map(await asyncio.to_thread(layer_of, outcome))


def _json(answer: BaseModel, status: int) -> Response:
    """Serialise at once; FastAPI would validate and copy what is valid."""
    excluded = {"heat_map"} if getattr(answer, "heat_map", "") is None else None
    return Response(answer.model_dump_json(exclude=excluded), status, media_type="application/json")
