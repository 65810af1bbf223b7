"""URLs of databases; their passwords are in no message."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from batch_predictions.sources.base import SourceError

_EXAMPLE = "write one such as postgresql://user:password@host:5432/database or sqlite:////path/file"
_SECRET_OPTION = re.compile(r"pass|secret|token|key|credential", re.IGNORECASE)

_SHORTEST_SECRET = 4


@dataclass(frozen=True)
class DatabaseUrl:
    """The URL of a database, in SQLAlchemy's format; `repr` and `location` hide its password."""

    url: sa.URL = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> DatabaseUrl:
        """Parses the setting `source.url`.

        Raises:
            SourceError: it is not a URL.
        """
        try:
            url = sa.make_url(re.sub(r"^postgres(?=[:+])", "postgresql", text.strip()))
            backend = url.get_backend_name()
        except (ArgumentError, ValueError):
            url, backend = None, ""
        if url is None or not backend:
            # Raised here, so that the traceback does not have the error that quotes the URL.
            raise SourceError(f"source.url is not a URL of a database: {_EXAMPLE}")
        return cls(url)

    @property
    def backend(self) -> str:
        """The kind of database, such as postgresql."""
        return self.url.get_backend_name()

    @property
    def location(self) -> str:
        """The database without user, password and options."""
        bare = sa.URL.create(
            self.backend, host=self.url.host, port=self.url.port, database=self.url.database
        )
        return bare.render_as_string()

    def hide_secrets(self, text: str) -> str:
        """A message of the database or its driver without the password and secret options."""
        secrets = [self.url.password] if isinstance(self.url.password, str) else []
        for name, value in self.url.query.items():
            if _SECRET_OPTION.search(name):
                secrets += [value] if isinstance(value, str) else value
        forms = {form for secret in secrets for form in (secret, quote(secret), quote_plus(secret))}
        for form in sorted(forms - {""}, key=len, reverse=True):
            if len(form) >= _SHORTEST_SECRET:
                text = text.replace(form, "***")
            else:
                # Replaced everywhere, a short password could be read from the gaps.
                text = re.sub(rf"([:=]\s*'?){re.escape(form)}(?=[@'&\s]|$)", r"\1***", text)
        return text
