"""The images of a request, read within its limits: a body of one image, or a form of several."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from patchcore_ops.model import EncodedImage
from patchcore_ops.service.settings import RETRY_SECONDS, Limits

_FORM = "multipart/form-data"
_MB = 2**20
_FIELDS = 16


class Busy(HTTPException):
    """The service has too much to do; the client may try again."""

    def __init__(self, what: str) -> None:
        super().__init__(
            503, f"{what}; try again in {RETRY_SECONDS} s", {"Retry-After": str(RETRY_SECONDS)}
        )


class HeldBytes:
    """How many bytes of bodies are in memory; used by the event loop alone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    def take(self, count: int) -> None:
        """Take place for so many bytes, or raise `Busy`."""
        if self._held + count > self._most:
            raise Busy("the service holds as many images as it may")
        self._held += count

    def give_back(self, count: int) -> None:
        """Free the place."""
        self._held -= count


class Upload:
    """The body of a request as images; a context that frees their place at its end."""

    def __init__(self, request: Request, limits: Limits, held: HeldBytes) -> None:
        self._request = request
        self._limits = limits
        self._all_held = held
        self._taken = 0

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        self._all_held.give_back(self._taken)

    async def images(self, name: str) -> list[EncodedImage]:
        """Read the images; a body that is an image is called `name`.

        Raises HTTPException if a limit is exceeded, nothing was sent, or a form cannot be read.
        """
        self._refuse_by_length()
        kind = self._request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == _FORM:
            return await self._of_form()
        content = b"".join([chunk async for chunk in self._bounded()])
        if not content:
            raise HTTPException(400, "the body is empty; send the bytes of an image")
        return [EncodedImage(name, content)]

    async def _of_form(self) -> list[EncodedImage]:
        most = self._limits.images
        parser = _InMemory(
            self._request.headers, self._bounded(), max_files=most, max_fields=_FIELDS
        )
        try:
            form = await parser.parse()
        except MultiPartException as problem:
            if "Too many files" in problem.message:
                raise HTTPException(
                    413, f"a request takes up to {most} images; send several requests"
                ) from None
            raise HTTPException(400, f"the form cannot be read: {problem.message}") from None
        images = []
        for position, (_, part) in enumerate(form.multi_items()):
            if isinstance(part, UploadFile):
                content = await part.read()
                images.append(EncodedImage(part.filename or f"image {position}", content))
        await form.close()
        if not images:
            raise HTTPException(400, "the form has no file; add images as parts with a file name")
        return images

    def _refuse_by_length(self) -> None:
        """Refuse a body by what is said of it, before it is read."""
        said = self._request.headers.get("content-length", "")
        if said.isdecimal() and int(said) > self._limits.body_bytes:
            raise self._too_large()

    async def _bounded(self) -> AsyncGenerator[bytes]:
        async for chunk in self._request.stream():
            if self._taken + len(chunk) > self._limits.body_bytes:
                raise self._too_large()
            self._all_held.take(len(chunk))
            self._taken += len(chunk)
            yield chunk

    def _too_large(self) -> HTTPException:
        most = self._limits.body_bytes / _MB
        return HTTPException(
            413, f"the body has more than {most:g} MB; send fewer or smaller images"
        )


class _InMemory(MultiPartParser):
    """Keeps files in memory, for their size is bounded already."""

    spool_max_size = 2**40
