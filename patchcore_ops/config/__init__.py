"""The configuration: one YAML file, its typed sections, and what they mean for a category."""

from patchcore_ops.config.load import BenchmarkConfig, load_config

__all__ = ["BenchmarkConfig", "load_config"]
