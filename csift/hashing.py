"""Content hashes: the same input gives the same id on every machine."""

import hashlib
import json
from typing import Any


def sha256(data: str | bytes) -> str:
    """Hex SHA-256 of bytes, or of text as UTF-8."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def content_id(prefix: str, payload: Any) -> str:
    """`prefix-` and 16 hex digits (64 bits) of the SHA-256 of the payload's canonical JSON.

    64 bits leave a collision chance under 1e-7 among a million records of a kind.
    """
    canonical = json.dumps(payload, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return f"{prefix}-{sha256(canonical)[:16]}"
