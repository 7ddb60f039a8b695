"""Checks of each stage's artefacts: functions that return a `Finding`, one module a subject."""
