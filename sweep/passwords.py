"""Texts without the passwords of addresses in them: a terminal, a log of a job and a record are read by others too."""

from __future__ import annotations

import re

_HIDDEN = re.compile(
    r"(?<=://)[^/?#\s\"]*@"  # USER:PASSWORD@ of RFC 3986, 3.2.1; a password may itself have an @
    r"|(?<=[?&])[^=&\s]*(?:password|passwd|secret|token)[^=&\s]*=[^&#\s\"]*&?",  # as drivers of databases take them
    re.IGNORECASE,
)


def without_passwords(text: str) -> str:
    """The same text; of every URI in it what may name a user or be a password is left out."""
    return _HIDDEN.sub("", text)
