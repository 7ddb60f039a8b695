"""How failures are reported: a mistake in one sentence; a busy storage is tried again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from patchcore_assets.storage import StorageBusy, is_transient
from patchcore_ops.runtime.errors import ConfigOutOfReach, EnvironmentProblem, UserError

# A storage that is busy or out of reach is asked again this often, waiting twice as long each time.
RETRIES = 3
FIRST_WAIT_SECONDS = 2.0

# How libraries say so that do not raise MemoryError.
_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "can't start new thread",
)


@contextmanager
def plain_failures() -> Iterator[None]:
    """Turn a user's mistake into a Dagster failure with its sentence and no traceback."""
    try:
        yield
    except UserError as mistake:
        # Dagster would print the chain of causes, and with it the traceback.
        raise dg.Failure(
            description=str(mistake),
            metadata={"mistake": dg.MetadataValue.text(type(mistake).__name__)},
            allow_retries=False,
        ) from None


@contextmanager
def transient_errors_retried(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Let Dagster retry the step where the storage was busy or out of reach."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) and not isinstance(error, ConfigOutOfReach):
            raise
        if not is_transient(error):
            raise
        # Only our own sentences are known to hold no address with a signature.
        is_own = isinstance(error, StorageBusy | ConfigOutOfReach)
        said = str(error) if is_own else type(error).__name__
        if context.retry_number >= RETRIES:
            # Dagster would show nothing but the number of attempts.
            if not is_own:
                raise
            raise dg.Failure(
                description=f"{said}; tried {RETRIES + 1} times, run again when it answers",
                allow_retries=False,
            ) from None
        context.log.warning(f"something failed, perhaps for a moment: {said}")
        raise dg.RetryRequested(
            max_retries=RETRIES, seconds_to_wait=FIRST_WAIT_SECONDS * 2**context.retry_number
        ) from error


@contextmanager
def memory_limits_named(asset: str, advice: str) -> Iterator[None]:
    """Raise EnvironmentProblem with a remedy where memory has run out."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not _is_out_of_memory(error):
            raise
        raise EnvironmentProblem(
            f"{asset}: the memory that this process may use is not enough; {advice}, or give it "
            "more memory, then run again"
        ) from error


def _is_out_of_memory(error: BaseException) -> bool:
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(words in said for words in _OUT_OF_MEMORY)


@contextmanager
def report_plainly() -> Iterator[None]:
    """Show a user's mistake as one sentence while a code location is loaded."""
    import click

    try:
        yield
    except UserError as mistake:
        raise click.ClickException(str(mistake)) from None
