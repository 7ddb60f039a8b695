"""Models over HTTP: images in, verdicts out; one process, and one page to try it."""
