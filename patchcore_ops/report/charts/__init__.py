"""Drawings of results as SVG, inside the report and in metadata.

`bars`, `curves`, `histogram` and `coverage` draw with axes; `standalone` makes a file of such a
drawing.
"""
