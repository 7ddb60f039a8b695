"""Drawings of results as SVG: `bars`, `curves`, `histogram`, `coverage`; `standalone` as a file."""
