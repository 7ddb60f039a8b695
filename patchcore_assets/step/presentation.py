"""Numbers, tables and pictures as Dagster metadata.

Dagster's pages show markdown of less than 1,000 characters in place, so pictures and charts are
behind a link. Tables are always in place, with room for about four columns.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    from markupsafe import Markup

# Every materialisation stays in the event log for ever, so pictures in it are kept small: an entry
# as it is stored, and all pictures of one materialisation.
MAX_PICTURE_BYTES = 100_000
MAX_MATERIALISATION_BYTES = 300_000
_PICTURE_WIDTH = 520


def table(frame: pd.DataFrame) -> dg.TableMetadataValue:
    """Show a table; floats are rounded, undefined values are a dash."""
    return dg.MetadataValue.table(
        [
            dg.TableRecord({str(key): _cell(value) for key, value in row.items()})
            for row in frame.to_dict("records")
        ],
        # Dagster takes the columns from the first row, which an empty table does not have.
        schema=dg.TableSchema([dg.TableColumn(str(name)) for name in frame.columns])
        if frame.empty
        else None,
    )


def place(location: str) -> dg.MetadataValue[str]:
    """Show where files lie: a URL as a link, a path as one."""
    is_url = "://" in location
    return dg.MetadataValue.url(location) if is_url else dg.MetadataValue.path(location)


def number(value: float | None) -> dg.MetadataValue[float | None]:
    """Show a figure that Dagster plots over time; an undefined one, None or NaN, as null."""
    if value is None or math.isnan(value):
        return dg.MetadataValue.null()
    return dg.MetadataValue.float(float(value))


def picture(pixels: npt.NDArray[np.uint8], title: str) -> dg.MarkdownMetadataValue:
    """Embed RGB pixels [H, W, 3] as JPEG of at most `MAX_PICTURE_BYTES`, with a title.

    It is scaled down to the width of the dialog that shows it.
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((_PICTURE_WIDTH, image.height), Image.Resampling.BILINEAR)
    quality = 80
    while True:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        entry = f"![{title}]({_base64_uri('image/jpeg', buffer.getvalue())})"
        if len(entry) <= MAX_PICTURE_BYTES:
            return dg.MetadataValue.md(entry)
        quality -= 10
        if quality < 40:
            quality = 70
            image = image.resize((max(image.width // 2, 1), max(image.height // 2, 1)))


def charts(drawings: Mapping[str, Markup | None]) -> dg.MarkdownMetadataValue:
    """Embed drawings of `patchcore_ops.report.charts` with their axes, below their titles."""
    from patchcore_ops.report.charts.standalone import standalone

    shown = [
        f"{title}\n\n![{title}]({_base64_uri('image/svg+xml', standalone(drawing).encode())})"
        for title, drawing in drawings.items()
        if drawing is not None
    ]
    entry = "\n\n".join(shown) or "There is nothing to draw."
    if len(entry) > MAX_PICTURE_BYTES:
        raise ValueError(f"drawings of {len(entry)} bytes are too large for the event log")
    return dg.MetadataValue.md(entry)


def _base64_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _cell(value: Any) -> str | int | float | bool:
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, bool | int):
        return plain
    if isinstance(plain, float):
        return "\u2013" if math.isnan(plain) else round(plain, 4)
    return str(plain)
