"""What a tracker does, whichever it is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import Request, urlopen

from patchcore_ops.tracking.record import Record

# A server that is down must cost a benchmark little.
PROBE_SECONDS = 3.0


class TrackerDown(Exception):
    """The tracker cannot be reached; what is to be sent waits for the next wave."""


class Tracker(Protocol):
    """Receives the records of waves."""

    def deliver(self, record: Record, models: Mapping[str, Path]) -> str:
        """Send a record, and the models of some categories; return where they can be seen.

        What has been sent before is not sent twice, also if it was interrupted. Raises TrackerDown
        if the tracker cannot be reached.
        """


def require_answer(url: str) -> None:
    """Ask a server for anything, before its package is imported and tries for minutes.

    Raises TrackerDown if no answer comes within `PROBE_SECONDS`. A refusal is an answer.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        return
    # Without user and password, which this needs not and urllib does not understand.
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    try:
        urlopen(Request(plain), timeout=PROBE_SECONDS).close()  # noqa: S310 - of a known scheme
    except HTTPError as answer:
        if answer.code in (502, 503, 504):
            raise TrackerDown(f"the server answers {answer.code} ({answer.reason})") from None
    except URLError as error:
        raise TrackerDown(f"the server does not answer ({error.reason})") from None
    except OSError as error:
        raise TrackerDown(f"the server does not answer ({error})") from None


def moment(record: Record) -> datetime:
    """Return when a record's table was made."""
    return datetime.fromisoformat(record.made)
