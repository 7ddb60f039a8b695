"""`patchcore serve`: models over HTTP."""

from __future__ import annotations

import argparse
import logging
import os
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from patchcore_ops.runtime.errors import EnvironmentProblem, UserError
from patchcore_ops.service.settings import TOKEN_VARIABLE, Limits, ServiceSettings

NAME = "serve"
HELP = "Serve models over HTTP: images in, verdicts out, and a page to try it."
_NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
_MB = 2**20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    limits, settings = Limits(), ServiceSettings(Path())
    parser.add_argument(
        "--models",
        type=Path,
        required=True,
        help="a folder of models, such as storage/model, or one model's folder",
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen [%(default)s]")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one [%(default)s]")
    parser.add_argument(
        "--max-mb",
        type=_positive,
        default=limits.body_bytes / _MB,
        help="of a request [%(default)g]",
    )
    parser.add_argument(
        "--max-pixels", type=_count, default=limits.pixels, help="of an image [%(default)s]"
    )
    parser.add_argument(
        "--max-images", type=_count, default=limits.images, help="of a request [%(default)s]"
    )
    parser.add_argument(
        "--max-waiting",
        type=_count,
        default=limits.waiting_images,
        help="images of all requests in the queue [%(default)s]",
    )
    parser.add_argument(
        "--max-seconds",
        type=_positive,
        default=limits.seconds,
        help="of a request, from its first byte to its answer [%(default)g]",
    )
    parser.add_argument(
        "--batch-ms",
        type=_positive,
        default=1000 * settings.batch_seconds,
        help="how long an image waits for others to be scored with it [%(default)g]",
    )
    parser.add_argument(
        "--reload-seconds",
        type=_positive,
        default=settings.poll_seconds,
        help="how often to look for new models [%(default)g]",
    )
    parser.epilog = f"The environment variable {TOKEN_VARIABLE} is the token that clients send."


def run(options: argparse.Namespace) -> int:
    """Serve until a signal."""
    for module in _NEEDED:
        if find_spec(module) is None:
            raise EnvironmentProblem(
                f"patchcore serve needs {module}; install it: pip install 'patchcore-assets[serve]'"
            )
    from patchcore_ops.runtime.process import share_freed_memory
    from patchcore_ops.service.server import serve

    share_freed_memory()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("patchcore_ops.service").setLevel(logging.INFO)
    settings = ServiceSettings(
        options.models,
        _token(),
        Limits(
            body_bytes=int(options.max_mb * _MB),
            held_bytes=max(Limits().held_bytes, int(2 * options.max_mb * _MB)),
            pixels=options.max_pixels,
            images=options.max_images,
            waiting_images=max(options.max_waiting, options.max_images),
            seconds=options.max_seconds,
        ),
        options.batch_ms / 1000,
        poll_seconds=options.reload_seconds,
    )
    serve(settings, options.host, options.port, lambda url: print(f"page: {url}/", flush=True))
    return 0


def _token() -> str | None:
    token = os.environ.get(TOKEN_VARIABLE)
    if token is not None and not token.strip():
        raise UserError(f"{TOKEN_VARIABLE} is empty; give it a token, or unset it")
    return None if token is None else token.strip()


def _positive(text: str) -> float:
    with suppress(ValueError):
        if 0 < (number := float(text)) < 1e9:
            return number
    raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")


def _count(text: str) -> int:
    with suppress(ValueError):
        if (number := int(text)) >= 1:
            return number
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
