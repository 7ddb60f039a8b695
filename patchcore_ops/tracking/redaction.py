"""Takes credentials out of what a tracker's package has said."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping

from patchcore_ops.config.addresses import without_credentials

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_USER = re.compile(r"://[^/@\s'\"]+@")
_SHORTEST = 4
_LONGEST_TEXT = 500


def without_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Replace credentials in URLs and the values of secret environment variables by `***`.

    Examples
    --------
    >>> without_secrets("401 for key abcd1234", {"WANDB_API_KEY": "abcd1234"})
    '401 for key ***'
    """
    variables = os.environ if environment is None else environment
    secrets = {value for name, value in variables.items() if _SECRET.search(name)}
    secrets.update(user for value in variables.values() for user in _user_and_password(value))
    for secret in sorted(filter(_is_long, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    text = _USER.sub("://***@", without_credentials(text))
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]} ..."


def _user_and_password(value: str) -> Iterator[str]:
    """Yield the credentials of a URL: together, and the password, which may be quoted alone."""
    if "://" in value and (user := value.partition("://")[2].rpartition("@")[0]):
        yield user
        yield user.partition(":")[2]


def _is_long(secret: str) -> bool:
    """Tell secrets from words that stand in every text."""
    return len(secret) >= _SHORTEST
