"""Settings of the source of raw rows."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, SecretStr

from batch_predictions.settings.section import Section

DEFAULT_EARLIEST = dt.date(1990, 1, 1)
"""Rows of earlier days are refused, unless the setting says otherwise."""


class EventTypeSettings(Section):
    """A type of interactions: the values of the source that belong to it, and its weight."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    weight: float = Field(
        1.0, ge=0, le=1000, description="Weight of one event in a user's taste; 0: not read."
    )
    values: list[str] = Field(
        default_factory=list,
        alias="is",
        description="Values of the source, in any case. Empty: the name of the type.",
    )
    target: bool = Field(
        False, description="Whether recommendations are evaluated by how well they predict it."
    )


def _as_value_map(value: Any) -> Any:
    """A map of values with texts in place of the numbers and truth values of YAML."""
    if not isinstance(value, dict):
        return value
    if any(isinstance(key, bool) for key in value):
        raise ValueError(
            "YAML reads yes, no, on, off, true and false without quotes as truth values: write the "
            "values of the source in quotes, such as {'yes': true}"
        )
    return {str(key): _as_text(item) for key, item in value.items()}


def _as_text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


ValueMapSetting = Annotated[dict[str, str | None], BeforeValidator(_as_value_map)]
"""Value of the source to value of the raw table; null: a missing value."""


def _as_path(value: Any) -> Any:
    """A text as a path; a URL stays a text, since a path has no double slash."""
    return Path(value) if isinstance(value, str) and "://" not in value else value


SourcePath = Annotated[Path | str, BeforeValidator(_as_path)]
"""A folder, or the URL of one."""


class IdRule(Section):
    """How the ids of a column are written, alike in all tables."""

    trim: bool = Field(True, description="Spaces around an id are removed.")
    case: Literal["keep", "lower", "upper"] = Field("keep", description="Case of letters.")

    def apply(self, value: str) -> str:
        """An id as the raw tables have it."""
        text = value.strip() if self.trim else value
        return {"keep": text, "lower": text.lower(), "upper": text.upper()}[self.case]


class DeduplicateRule(Section):
    """Which rows of a table repeat others."""

    by: list[str] = Field(min_length=1, description="Columns of the files or of the raw table.")
    keep: Literal["first", "last"] = Field(
        "last", description="Which stays, by the files' names and the rows in them."
    )


class FilesEntry(Section):
    """Files of a table, and how they are read where that differs from the table's other files."""

    pattern: str = Field(description="Path or pattern, relative to source.path.")
    format: Literal["parquet", "csv", "json"] | None = Field(
        None, description="Format, if the files' names do not end with it."
    )
    columns: dict[str, str] = Field(default_factory=dict, description="As source.columns.")
    formats: dict[str, str] = Field(default_factory=dict, description="As source.formats.")
    values: dict[str, ValueMapSetting] = Field(
        default_factory=dict, description="As source.values."
    )
    where: str | None = Field(None, description="As source.where.")


def _as_entries(value: Any) -> Any:
    """One pattern, or a list of patterns and entries, as a list of entries."""
    items = value if isinstance(value, list) else [value]
    return [{"pattern": item} if isinstance(item, str) else item for item in items]


FilesSetting = Annotated[list[FilesEntry], BeforeValidator(_as_entries)]
"""The files of a table."""


def _as_encodings(value: Any) -> Any:
    """One encoding of all files, or one for each pattern."""
    return {"**": value} if isinstance(value, str) else value


EncodingSetting = Annotated[dict[str, str], BeforeValidator(_as_encodings)]
"""Pattern of files to their encoding."""


class SourceSettings(Section):
    """The source of raw rows."""

    kind: str = Field(
        "complete_journey",
        description="Adapter: complete_journey, files, sql, movielens, amazon_reviews, or the kind "
        "of an adapter of a plugin.",
    )
    path: SourcePath | None = Field(
        None,
        description="Folder of the source (files, movielens, amazon_reviews), or the URL of one: "
        "s3://bucket/prefix, gs://, az://, https:// (extra: objectstore). Credentials are those of "
        "the environment, such as AWS_ACCESS_KEY_ID.",
    )
    endpoint: str | None = Field(
        None,
        description="URL of an S3-compatible server, such as https://minio.example.com:9000, for "
        "a path such as s3://bucket/prefix. Empty: AWS_ENDPOINT_URL, or Amazon.",
    )
    timezone: str | None = Field(
        None,
        description="Time zone of the business day, such as Europe/Berlin. Empty: that of "
        "the adapter (complete_journey: America/New_York; otherwise UTC).",
    )
    naive_times: Literal["local", "utc"] | None = Field(
        None,
        description="Times without an offset to UTC: local: of the time zone; utc. Empty: local "
        "where source.timezone is set, else utc.",
    )
    default_date: dt.date | None = Field(
        None,
        description="Day of rows without a time. Empty: the last Sunday before the first run, kept "
        "in <home>/state.yaml.",
    )
    original_dates: bool = Field(
        False, description="complete_journey: the original dates in 2017 instead of replayed ones."
    )
    files: dict[str, FilesSetting] = Field(
        default_factory=dict,
        description="files: for each raw table, a path or pattern in source.path, or a list, such "
        "as {interactions: 'events/dt=*/**/*.parquet', reviews: ['*.jsonl', {pattern: shop.csv, "
        "columns: {text: body}}]}; an entry may have columns, formats, values and where of its "
        "own, and the format (csv, json, parquet). Empty: files that are named like the tables.",
    )
    encoding: EncodingSetting = Field(
        default_factory=dict,
        description="Encoding of text files that are not UTF-8: one, such as cp1252, or one for "
        "each pattern, such as {'customers*.csv': cp1252, 'export.zip/*.csv': utf-16}.",
    )
    url: SecretStr | None = Field(
        None,
        description="sql: URL of the database, such as postgresql://user:password@host/database. "
        "Set it in the environment, as BATCH_PREDICTIONS_SOURCE__URL.",
    )
    driver: Literal["auto", "adbc", "sqlalchemy"] = Field(
        "auto",
        description="sql: library that reads the database. auto: ADBC for PostgreSQL, SQLite, "
        "Snowflake and BigQuery, SQLAlchemy for other databases.",
    )
    tables: dict[str, str] = Field(
        default_factory=dict,
        description="sql: for each raw table, your table or view, such as {interactions: "
        "shop.order_lines, items: shop.products}.",
    )
    updated_at: dict[str, str] = Field(
        default_factory=dict,
        description="sql: for each raw table, your column with the time of a row's last change, "
        "such as {interactions: modified_at}. With it, changes of a row in place are noticed.",
    )
    late_days: int = Field(
        3,
        ge=0,
        description="sql: the days before the newest one that every run compares with the "
        "database, because rows arrive late; those that changed are read again.",
    )
    reconcile_days: int = Field(
        7,
        ge=0,
        description="sql: every this many days a run compares all days with the database, so that "
        "older rows that were deleted or added are noticed. 0: never.",
    )
    statement_timeout_seconds: int = Field(
        3600, ge=0, description="sql: longest time of one query. 0: no limit."
    )
    connect_timeout_seconds: int = Field(
        10, ge=1, description="sql: longest time to wait for a connection."
    )
    retries: int = Field(
        3, ge=0, description="sql: how often to try again after the connection fails or breaks."
    )
    columns: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="files, sql: for each raw table, its column: your column, such as "
        "{interactions: {user_id: customer, item_id: sku, occurred_at: ts}}. amount is what was "
        "paid for the whole line, quantity its units (negative for a return).",
    )
    formats: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="files, sql: for each raw table, its column: the format of its values. Of "
        "dates and times as in strptime, such as {interactions: {occurred_at: '%d.%m.%Y %H:%M'}}; "
        "not needed for ISO 8601, Unix time, RFC 2822 and English month names. Of numbers as an "
        "example with thousands and decimals, such as {items: {price: '1.234,56'}}; "
        "not needed for 1234.56.",
    )
    values: dict[str, dict[str, ValueMapSetting]] = Field(
        default_factory=dict,
        description="files, sql: for each raw table, its column: a map of your values to ours, "
        "such as {items: {available: {active: true, draft: false}}, users: {gender: {Frau: "
        "female}}}. Case and spaces around your values do not count.",
    )
    ids: dict[str, IdRule] = Field(
        default_factory=dict,
        description="How ids are written, alike in all tables, such as {user_id: {case: lower}, "
        "item_id: {case: upper}}; spaces around ids are removed, unless trim is false.",
    )
    where: dict[str, str] = Field(
        default_factory=dict,
        description="files, sql: for each raw table, a SQL condition over your columns, such as "
        "{interactions: \"status in ('paid', 'fulfilled')\"}. Other rows are left out; those of "
        "files are counted. sql: in the SQL of the database, such as deleted_at is null.",
    )
    deduplicate: dict[str, DeduplicateRule] = Field(
        default_factory=dict,
        description="For each raw table, the columns of which rows of a day with equal values are "
        "repeats, such as {interactions: {by: [order_id, line_no], keep: last}}. Repeats are left "
        "out and counted; by the files' names and rows, the last stays or the first.",
    )
    queries: dict[str, str] = Field(
        default_factory=dict,
        description="files: for each raw table, a DuckDB SELECT over the files, whose result has "
        "the table's columns, such as {interactions: \"select sku as item_id, customer as user_id, "
        "quantity * price as amount, day as date from 'orders*.csv'\"}. It reads only files in "
        "source.path, to which paths are relative. sql: a SELECT in the SQL of the database, "
        "instead of a name in tables.",
    )
    events: dict[str, EventTypeSettings] = Field(
        default_factory=dict,
        description="Types of interactions, such as {purchase: {weight: 1, is: [order, sale], "
        "target: true}, cart: {weight: 0.5}, view: {weight: 0.1}, return: {is: [refund]}}. "
        "purchase is what demand and churn count, return is subtracted from it. Events of other "
        "types are kept in raw.interactions, but only recency reads them. Empty: the types of the "
        "adapter (files: purchase, rating, cart, view, return).",
    )
    returns: Literal["subtract", "exclude"] = Field(
        "subtract",
        description="Returns: interactions of the type return, and purchases with a negative "
        "quantity. subtract: from units and amounts; exclude: they are not counted at all.",
    )
    shrinkage: Literal["replace", "ask", "stop"] = Field(
        "ask",
        description="What an ingest does with a day that has lost more of its rows than "
        "shrinkage_share. ask: it keeps those it has, `run` exits with 1 and names the command "
        "that replaces them; stop: it ends with an error; both keep days that the source no longer "
        "has, as with exports of the last 30 days. replace: it follows the source in all.",
    )
    shrinkage_share: float = Field(
        0.2, ge=0, le=1, description="Share of a day's rows that may be lost without asking."
    )
    earliest: dt.date | None = Field(
        None,
        description="Rows of earlier days are refused as implausible. Empty: 1990-01-01; and a new "
        "home begins with the first day that is not far before the others (more than 180 days "
        "without a row lie between, and at most 1 % of the rows are before them).",
    )
    exclude_items: dict[str, list[str]] = Field(
        default_factory=dict,
        description="Items that are never recommended: category, subcategory, brand or an "
        "attribute of raw.items (a column of your items that is not mapped) to values, such as "
        "{category: [FUEL], Status: [draft]}. Empty: those that the adapter excludes.",
    )

    @property
    def earliest_day(self) -> dt.date:
        """Rows of earlier days are refused."""
        return self.earliest or DEFAULT_EARLIEST
