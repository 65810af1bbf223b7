"""URLs of databases as sources; their passwords are in no message."""

from __future__ import annotations

from dataclasses import dataclass, field

import sqlalchemy as sa

from batch_predictions.core.database_url import DatabaseUrlError, location_of, parse_database_url
from batch_predictions.core.redaction import redact, secrets_of_url
from batch_predictions.sources.base import SourceError


@dataclass(frozen=True)
class DatabaseUrl:
    """The URL of a database, in SQLAlchemy's format; `repr` and `location` hide its password."""

    url: sa.URL = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> DatabaseUrl:
        """Parses the setting `source.url`.

        Raises:
            SourceError: it is not a URL of a database.
        """
        try:
            return cls(parse_database_url(text, "source.url"))
        except DatabaseUrlError as error:
            raise SourceError(str(error)) from None

    @property
    def backend(self) -> str:
        """The kind of database, such as postgresql."""
        return self.url.get_backend_name()

    @property
    def location(self) -> str:
        """The database without user, password and options."""
        return location_of(self.url.set(drivername=self.backend))

    def hide_secrets(self, text: str) -> str:
        """A message of the database or its driver without the password and secret options."""
        return redact(text, secrets_of_url(self.url.render_as_string(hide_password=False)))
