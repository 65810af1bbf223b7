"""Settings of sinks: databases and buckets of other teams that get every release."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from batch_predictions.settings.section import Location, Section


class SinkSettings(Section):
    """A database or a bucket that gets the release that is served."""

    url: Location = Field(
        repr=False,
        description="postgresql://host/database (extra: sql); "
        "snowflake://user@account/database?warehouse=W (extra: snowflake); or a folder, s3://, "
        "gs:// or az:// (extra: lakehouse). A password is better in the environment: "
        "BATCH_PREDICTIONS_SINKS is the whole list as JSON.",
    )
    format: Literal["delta", "parquet"] = Field(
        "delta",
        description="Of a folder or bucket: Delta Lake tables, whose versions name whole "
        "releases; or one Parquet file for each table and day.",
    )
    tables: list[str] = Field(
        default_factory=list,
        description="Tables of releases, such as [recommendations, items]. Empty: all of them.",
    )
    keep: Literal["current", "days"] = Field(
        "current",
        description="current: rows of the release that is served; days: of earlier days too, of "
        "each those of its newest release.",
    )
    database_schema: str = Field(
        "batch_predictions",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$",
        description="Schema of a database in which the tables are; it is created.",
    )
