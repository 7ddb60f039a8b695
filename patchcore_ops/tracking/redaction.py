"""Takes credentials out of what a tracker's package has said."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

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
    secrets = {
        value
        for name, value in variables.items()
        if _SECRET.search(name) and len(value) >= _SHORTEST
    }
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    text = _USER.sub("://***@", without_credentials(text))
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]} ..."
