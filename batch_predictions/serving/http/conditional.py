"""Conditional requests: whether a client has the answer already (RFC 9110, If-None-Match)."""

from __future__ import annotations

import hashlib


def etag_of(content: bytes) -> bytes:
    """The weak entity tag of an answer's text without its age.

    It is weak since `age_seconds` differs between answers of one tag.
    """
    return f'W/"{hashlib.blake2b(content, digest_size=16).hexdigest()}"'.encode()


def etag_matches(wanted: bytes, etag: bytes) -> bool:
    """Returns whether If-None-Match names a tag; weak and strong tags are compared alike."""
    tags = [tag.strip().removeprefix(b"W/") for tag in wanted.split(b",")]
    return b"*" in tags or etag.removeprefix(b"W/") in tags
