"""Errors that a user can cause, each with one sentence that says what to do.

Callers print a `UserError` without a traceback. Any other error is a defect of the project.
"""

from __future__ import annotations


class UserError(Exception):
    """A mistake in what the user supplied; the message names it and its remedy."""


class ConfigError(UserError):
    """The configuration file is missing, malformed, or holds a value that cannot be used."""


class ConfigOutOfReach(ConfigError, ConnectionError):
    """The configuration is at a URL that does not answer; it may later."""


class DatasetError(UserError):
    """An image folder is absent or holds something that the benchmark cannot use."""


class WeightsError(UserError):
    """A backbone, or its weights, cannot be had or do not fit."""


class EnvironmentProblem(UserError):
    """The installation cannot do what the configuration asks for."""


class StaleArtefact(UserError):
    """An artefact was made with other settings than those that are to be used with it."""
