"""Settings of the HTTP service."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from batch_predictions.settings.section import Location, Section


class HttpSettings(Section):
    """The HTTP service, `batch-predictions serve`.

    Its API keys come from the environment only: BATCH_PREDICTIONS_HTTP_READ_KEYS, …_WRITE_KEYS and
    …_ADMIN_KEYS; see docs/reference/http.md.
    """

    max_age_hours: float | None = Field(
        None,
        gt=0,
        description="/readyz answers 503 when the release is older than this, in hours since the "
        "end of its day. Empty: at no age, since old lists are better than none.",
    )
    refresh_seconds: float = Field(
        0.25, ge=0.01, le=60, description="How often the store is asked for a new release."
    )
    release_dir: Location | None = Field(
        None,
        description="Folder of release files to answer from, instead of the serving store, or "
        "their URL, such as s3://bucket/releases; `serve --release-dir` sets it. Empty: the "
        "serving store.",
    )
    release_copy_dir: Path | None = Field(
        None,
        description="Folder on a local disk to which release files are copied before they are "
        "served; `serve --copy-to` sets it. Empty: they are read where they are, and those of a "
        "URL are copied to <home>/release_copies.",
    )
    release_poll_seconds: float = Field(
        5.0,
        ge=0.01,
        le=3600,
        description="How often release_dir is asked for a newer file; `serve --poll-seconds`.",
    )
    cache_mb: int = Field(
        128, ge=0, description="Memory for ready answers of the current release, MiB per worker."
    )
    cache_seconds: int = Field(
        86_400,
        ge=0,
        description="Cache-Control: clients may keep an answer until the next release is due, but "
        "not longer than this. Lower it if a roll-back must be seen sooner.",
    )
    requests_per_second: float = Field(
        0.0,
        ge=0,
        description="Requests that a key, or an address without a key, may send per second and "
        "worker, up to a second's worth at once; a batch counts as one per 100 users or events; "
        "0: any number.",
    )
    max_body_kb: int = Field(1024, ge=1, description="Largest body of a request, KiB.")
    cors_origins: list[str] = Field(
        [],
        description="Origins whose pages may call the service from a browser, such as "
        "[https://shop.example]; [*]: all. A key that a page sends is known to everybody who opens "
        "it. Empty: none.",
    )
    trusted_proxies: list[str] = Field(
        [],
        description="Addresses of reverse proxies whose X-Forwarded-For names the client for "
        "limits by address, such as [10.0.0.5]. Empty: none.",
    )
    explorer: bool = Field(
        True,
        description="Whether the service has pages for people at /explorer, under the same rules "
        "as its other addresses.",
    )
    allow_without_keys: bool = Field(
        False,
        description="Whether a service without API keys may listen on other addresses than "
        "loopback, or answer under other names: everybody who reaches it reads everything.",
    )

    @field_validator("cors_origins")
    @classmethod
    def _require_origins(cls, origins: list[str]) -> list[str]:
        for origin in origins:
            scheme, separator, rest = origin.partition("://")
            if origin != "*" and not (separator and scheme and rest and "/" not in rest):
                raise ValueError(f"{origin} is no origin: write SCHEME://HOST[:PORT], or *")
        return origins
