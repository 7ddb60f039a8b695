"""Tables and pictures as Dagster metadata."""

from __future__ import annotations

import base64
import io
import math

import dagster as dg
import numpy as np
import numpy.typing as npt
import pandas as pd

# Every materialisation stays in the event log for ever, so pictures in it are kept small.
MAX_PICTURE_BYTES = 150_000


def table(frame: pd.DataFrame, digits: int = 4) -> dg.TableMetadataValue:
    """Show a table; floats are rounded, undefined values are shown as a dash."""
    return dg.MetadataValue.table(
        [
            dg.TableRecord({str(key): _cell(value, digits) for key, value in row.items()})
            for row in frame.to_dict("records")
        ]
    )


def number(value: float) -> dg.MetadataValue[float | None]:
    """Show a figure that Dagster plots over time; an undefined one as null."""
    return dg.MetadataValue.null() if math.isnan(value) else dg.MetadataValue.float(float(value))


def picture(pixels: npt.NDArray[np.uint8], title: str) -> dg.MarkdownMetadataValue:
    """Embed a picture, compressed until it is at most `MAX_PICTURE_BYTES` large.

    Parameters
    ----------
    pixels : ndarray of uint8, shape [H, W, 3]
    title : str
        Alternative text.
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    quality = 85
    while True:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= MAX_PICTURE_BYTES:
            break
        quality -= 10
        if quality < 35:
            quality = 75
            image = image.resize((max(image.width // 2, 1), max(image.height // 2, 1)))
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return dg.MetadataValue.md(f"![{title}](data:image/jpeg;base64,{encoded})")


def _cell(value: object, digits: int) -> str | int | float | bool:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return "\u2013" if math.isnan(value) else round(float(value), digits)
    return str(value)
