"""Errors, progress, arrays on disk, content hashes, devices and threads."""
