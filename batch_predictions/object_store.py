"""Opens object stores by URL: S3, Google Cloud Storage, Azure, and web servers.

Credentials are those of the environment; no message shows them.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from batch_predictions.redaction import environment_secrets, redact

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_ENDPOINT_NAMES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


def open_object_store(url: str, endpoint: str | None = None) -> ObjectStore:
    """The objects below a URL.

    Args:
        url: such as s3://bucket/prefix.
        endpoint: URL of an S3-compatible server; None: that of the environment, or the provider's.

    Raises:
        ImportError: the extra objectstore is not installed.
        obstore.exceptions.BaseError, ValueError: the URL or the environment cannot be used.
    """
    from obstore.store import from_url

    options: dict[str, Any] = {
        "retry_config": {"max_retries": 5, "retry_timeout": dt.timedelta(seconds=60)},
        "client_options": {"connect_timeout": "10s", "timeout": "300s"},
    }
    endpoint = endpoint or next(filter(None, map(os.environ.get, _ENDPOINT_NAMES)), None)
    if url.startswith("http://") or (endpoint or "").startswith("http://"):
        options["client_options"]["allow_http"] = True
    if endpoint and urlsplit(url).scheme == "s3":
        options["config"] = {"endpoint": endpoint}
    store: ObjectStore = from_url(url, **options)
    return store


def without_credentials(text: str) -> str:
    """A text of a store without users and queries of URLs, and without secrets of variables."""
    text = re.sub(r"(://)[^/@\s]*@", r"\1", text)
    text = re.sub(r"\?[^\s\"')]*", "", text) if "://" in text else text
    return redact(text, environment_secrets())
