"""The address of a feedback database as messages may name it: everything but the password."""

from __future__ import annotations

import re

HIDDEN = "***"
_BEFORE_HOST = re.compile(r"^([\w.+-]+://[^:/@?#]*):(.*)@(?=[^@]*$)", re.DOTALL)
_IN_QUERY = re.compile(r"([?&](?:password|passfile|sslpassword)=)[^&]*", re.IGNORECASE)


def without_password(address: str) -> str:
    """Return an SQLAlchemy address with ``***`` in place of its password, wherever the password stands."""
    return _IN_QUERY.sub(rf"\g<1>{HIDDEN}", _BEFORE_HOST.sub(rf"\g<1>:{HIDDEN}@", address))
