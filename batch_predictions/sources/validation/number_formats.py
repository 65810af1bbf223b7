"""Formats of numbers, declared by an example such as `1.234,56`, and SQL that reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from batch_predictions.sources.base import SourceError
from batch_predictions.warehouse.path_sql import quote_literal

_SPACES = " \u00a0\u202f"
_APOSTROPHES = "'’"
_EXAMPLE = re.compile(
    rf"(?P<before>\D*?)\s*\d(?P<thousands>[.,{_SPACES}{_APOSTROPHES}]?)\d{{3}}"
    r"(?P<decimal>[.,])\d{2}\s*(?P<after>\D*)"
)
# Signs (€, US$), codes (EUR) and abbreviations (kr, zł, Fr.) of currencies.
_ANY_CURRENCY = r"(?:\p{L}{0,2}\p{Sc}|[A-Z]{3}|[Kk]r\.?|zł|Kč|Ft|Fr\.?|lei|лв\.?)"
_MINUS = "[-−]"
_CURRENCY_SPACE = rf"[{_SPACES}]*"


@dataclass(frozen=True)
class NumberFormat:
    """The marks and the currency with which a column writes numbers.

    Attributes:
        example: the example that declares it.
        thousands: the characters that may divide thousands; empty: none may.
        decimal: the decimal mark.
        currency: the only currency that values may have; empty: any, or none.
    """

    example: str
    thousands: str
    decimal: str
    currency: str

    @classmethod
    def parse(cls, setting: str, example: str) -> NumberFormat:
        """The format that an example declares.

        Args:
            setting: name of the setting, for messages.
            example: such as `1.234,56`, `1 234,56`, `1,234.56`, `1'234.56`, `1234,56`, each with a
                currency or without.

        Raises:
            SourceError: the example is of another form.
        """
        match = _EXAMPLE.fullmatch(example.strip())
        if not match or match["thousands"] == match["decimal"]:
            raise SourceError(
                f"{setting} {example!r} is not an example of a number with thousands and two "
                "decimals: write 1.234,56 or '1 234,56' or 1,234.56 or 1234.56 as the files do"
            )
        thousands = next(
            (marks for marks in (_SPACES, _APOSTROPHES) if match["thousands"] in marks),
            match["thousands"],
        )
        return cls(
            example,
            thousands if match["thousands"] else "",
            match["decimal"],
            match["before"] or match["after"],
        )

    def value_sql(self, text: str) -> str:
        """SQL of the number as text, such as `-1234.56`; null for texts of another format.

        Args:
            text: SQL of the trimmed text.
        """
        digits = f"regexp_extract({text}, {quote_literal(self._number)})"
        if self.thousands:
            digits = f"translate({digits}, {quote_literal(self.thousands)}, '')"
        return (
            f"case when regexp_full_match({text}, {quote_literal(self._pattern)}) then "
            f"case when regexp_matches({text}, {quote_literal(_MINUS)}) then '-' else '' end || "
            f"replace({digits}, {quote_literal(self.decimal)}, '.') end"
        )

    def reason_sql(self, name: str, text: str) -> str:
        """SQL of the reason why a text is not read.

        Args:
            name: column of the raw table.
            text: SQL of the text.
        """
        start = quote_literal(f"{name} '")
        end = quote_literal(
            f"' is not a number such as {self.example}, the format that source.formats declares: "
            "correct the value or the format"
        )
        return f"{start} || left({text}, 60) || {end}"

    @property
    def _number(self) -> str:
        decimal = re.escape(self.decimal)
        whole = r"\d+"
        if self.thousands:
            # Spelt out, since the expression has no look-behind: 1.234.567 or 1234567.
            whole = rf"(?:\d{{1,3}}(?:[{self.thousands}]\d{{3}})+|\d+)"
        return rf"(?:{whole}(?:{decimal}\d+)?|{decimal}\d+)"

    @property
    def _pattern(self) -> str:
        currency = _escape(self.currency) if self.currency else _ANY_CURRENCY
        before = rf"(?:{currency}{_CURRENCY_SPACE})?"
        after = rf"(?:{_CURRENCY_SPACE}{currency})?"
        sign = rf"(?:{_MINUS}{_CURRENCY_SPACE})?"
        # The sign is before the currency or after it.
        return rf"(?:\+|{sign}{before}|{before}{sign}){self._number}{after}"


def suggestion_sql(table: str, name: str, text: str) -> str:
    """SQL of the setting that would read a text, for reasons; null if it is no written number.

    Args:
        table: the raw table.
        name: its column.
        text: SQL of the text as read.
    """
    setting = "or declare the format with source.formats: {" + table + ": {" + name + ": "
    cases = [
        (r"^\D*\d{1,3}[,.]\d{3}\D*$", ("1.234,56", "1,234.56")),
        (rf"\d[{_SPACES}]\d{{3}}(,\d+)?\D*$", ("1 234,56",)),
        (rf"\d[{_SPACES}]\d{{3}}\.\d+\D*$", ("1 234.56",)),
        (rf"\d[{_APOSTROPHES}]\d{{3}}(\.\d+)?\D*$", ("1'234.56",)),
        (rf"\d[{_APOSTROPHES}]\d{{3}},\d+\D*$", ("1'234,56",)),
        (r"^\D*\d[\d.]*,\d+\D*$", ("1.234,56",)),
        (r"^\D*\d[\d,]*(\.\d+)?\D*$", ("1,234.56",)),
    ]
    whens = []
    for pattern, examples in cases:
        formats = [NumberFormat.parse("", example) for example in examples]
        numbers = ", ".join(format_.value_sql(f"trim({text})") for format_ in formats)
        suggestion = " or ".join(f'{setting}"{example}"}}}}' for example in examples)
        whens.append(
            f"when regexp_matches({text}, {quote_literal(pattern)}) "
            f"then case when coalesce({numbers}) is not null then {quote_literal(suggestion)} end"
        )
    return f"case {' '.join(whens)} end"


def _escape(text: str) -> str:
    """A text as a pattern of RE2, which refuses escapes of letters."""
    return "".join(char if char.isalnum() else f"\\x{{{ord(char):x}}}" for char in text)
