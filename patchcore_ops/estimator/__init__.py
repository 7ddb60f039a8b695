"""PatchCore in five lines: fitted on a folder or on arrays, without a configuration file."""

from patchcore_ops.estimator.patchcore import PatchCore

__all__ = ["PatchCore"]
