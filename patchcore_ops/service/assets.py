"""The page for people, and the description of the interface: files of the package alone."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, PackageLoader
from starlette.exceptions import HTTPException

# Room and media type. Of the report, only a file is read: its code imports much that no request
# needs.
_FILES: Final = {
    "base.css": ("report", "text/css"),
    "service.css": ("service", "text/css"),
    "service.js": ("service", "text/javascript"),
    "distribution.js": ("service", "text/javascript"),
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def show_page() -> Response:
    """Answer the page."""
    return HTMLResponse(_content("service", "index.html"))


@router.get("/page/{name}")
async def show_file(name: str) -> Response:
    """Answer a file of the page."""
    if name not in _FILES:
        raise HTTPException(404, f"the page has no file '{name}'")
    room, media_type = _FILES[name]
    return Response(_content(room, name), media_type=media_type)


@router.get("/docs")
async def show_docs(request: Request) -> Response:
    """Answer the description of the interface."""
    loader = PackageLoader("patchcore_ops.service", "page")
    environment = Environment(loader=loader, autoescape=True)
    template = environment.get_template("docs.html")
    return HTMLResponse(template.render(schema=request.app.openapi()))


def _content(room: str, name: str) -> bytes:
    return files("patchcore_ops").joinpath(room, "page", name).read_bytes()
