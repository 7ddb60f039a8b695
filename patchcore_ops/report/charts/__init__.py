"""Drawings of results as SVG: inside the report, as files, and small enough for metadata.

`bars`, `curves`, `histogram` and `coverage` draw with axes; `standalone` makes a file of such a
drawing; `glance` draws the same data in less than a kilobyte.
"""
