"""What happens when something fails: one sentence for a mistake, another try for a busy storage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from patchcore_assets.storage import is_transient
from patchcore_ops.errors import UserError

# A storage that is busy or out of reach is asked again this often, waiting twice as long each time.
RETRIES = 3
FIRST_WAIT_SECONDS = 2.0


@contextmanager
def plain_failures() -> Iterator[None]:
    """Turn a user's mistake into a Dagster failure that shows its sentence and no traceback."""
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
    """Ask Dagster to start the step again where the storage was only busy or out of reach."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not is_transient(error):
            raise
        context.log.warning(f"the storage failed, perhaps for a moment: {error!r}")
        raise dg.RetryRequested(
            max_retries=RETRIES, seconds_to_wait=FIRST_WAIT_SECONDS * 2**context.retry_number
        ) from error


@contextmanager
def report_plainly() -> Iterator[None]:
    """Show a user's mistake as one sentence where a code location is being loaded."""
    import click

    try:
        yield
    except UserError as mistake:
        raise click.ClickException(str(mistake)) from None
