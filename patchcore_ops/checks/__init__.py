"""Checks of what each stage has made: plain functions that look at an artefact and say what is so.

One module a subject. Every function returns a `Finding`: whether it passed, one sentence, and the
facts behind it.
"""
