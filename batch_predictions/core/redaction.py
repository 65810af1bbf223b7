"""Passwords and keys are in no message, log line or record: all of them go through `redact`.

Two things are hidden: the secrets that this process knows (of the settings' URLs and of variables
such as AWS_SECRET_ACCESS_KEY), in every form in which they may be written, and whatever looks like
a secret: user and password of a URL, `password=…`, tokens of a header. Identifiers of users and
items, and texts, are hidden by `mask` unless `execution.show_identifiers` is set.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, unquote, unquote_plus

HIDDEN = "***"
MASKED = "…"
_KEYS = (
    *("access", "account", "api", "client", "encryption"),
    *("private", "secret", "shared", "signing"),
)
_WORDS = ("password", "passwd", "passphrase", "secret", "token", "credential", "signature")
_SHORT_WORDS = ("pwd", "sig", "sas")
_KEY = rf"(?:{'|'.join(_KEYS)})[-_]?key(?:[-_]?id)?"
_SECRET_NAME = (
    rf"(?:[\w.-]*(?:{'|'.join(_WORDS)}|credentials|{_KEY})"
    rf"|(?:[\w.-]*[-_.])?(?:{'|'.join(_SHORT_WORDS)}))"
)
"""Names of options whose values are secrets."""
_NAMED = re.compile(_SECRET_NAME, re.IGNORECASE)
_VARIABLES = re.compile(
    r"SECRET|TOKEN|PASSW|PWD|KEY|SAS|CREDENTIAL|_(?:URL|URI|DSN)$", re.IGNORECASE
)
"""Variables of the environment whose values may be secrets, or have them."""
_FOLDERS = {"PWD", "OLDPWD"}
"""Working directories of a shell, which are no passwords."""
KEY_LIST = re.compile(r"_KEYS$", re.IGNORECASE)
"""Variables whose values are keys, separated by commas."""
ALERT_URLS = "BATCH_PREDICTIONS_ALERT_URLS"
"""Variable with the addresses that alerts go to, separated by blanks; their parts are tokens."""
REPORT_URLS = "BATCH_PREDICTIONS_REPORT_URLS"
"""Variable with the addresses that reports go to, of the same kind."""
_SHORTEST_SECRET = 4
_URL_CUES = ("://",)
_NAME_CUES = (
    *_WORDS,
    *_SHORT_WORDS,
    *(f"{kind}{separator}key" for kind in _KEYS for separator in ("", "-", "_")),
)
_LOOKS: list[tuple[tuple[str, ...], str, str]] = [
    # Of user and password, the last @ is the end: one in the password may not be escaped.
    (_URL_CUES, r"(\b\w[\w+.-]*://[^\s/:@\"'<>]*):[^\s\"'<>]*@", rf"\1:{HIDDEN}@"),
    (_URL_CUES, r"(\b\w[\w+.-]*://)[^\s/:@\"'<>]+@", rf"\1{HIDDEN}@"),
    (
        _NAME_CUES,
        rf"(\b{_SECRET_NAME}=)(\"[^\"]*\"|'[^']*'|[^\s&;,\"')}}\]\\]+)",
        rf"\1{HIDDEN}",
    ),
    (
        _NAME_CUES,
        rf"(\b{_SECRET_NAME}\\?[\"']?\s*:\s*\\?[\"'])[^\"'\\]+",
        rf"\1{HIDDEN}",
    ),
    (_NAME_CUES, rf"(?m)^(\s*{_SECRET_NAME}:\s+)[^\s\"'].*$", rf"\1{HIDDEN}"),
    (("authorization",), r"(\bAuthorization\W{1,4}(?:\w+ )?)[\w.~+/=-]{8,}", rf"\1{HIDDEN}"),
    (("bearer",), r"(\bBearer )[\w.~+/=-]{16,}", rf"\1{HIDDEN}"),
    (("akia", "asia"), r"\bA[KS]IA[0-9A-Z]{16}\b", HIDDEN),
]
"""What looks like a secret: texts of which one must occur in it, a pattern, a replacement."""
_REPLACEMENTS = [
    (cues, re.compile(pattern, re.IGNORECASE), replacement) for cues, pattern, replacement in _LOOKS
]

_known: re.Pattern[str] | None = None
_short: list[str] = []
_shows_identifiers = False


def configure(urls: Iterable[str | None], *, show_identifiers: bool) -> None:
    """Sets what `redact` and `mask` hide in this process.

    Args:
        urls: settings that may have a password.
        show_identifiers: the setting `execution.show_identifiers`.
    """
    global _known, _short, _shows_identifiers
    secrets = {secret for url in urls if url for secret in secrets_of_url(url)}
    _known, _short = _compile(secrets | environment_secrets())
    _shows_identifiers = show_identifiers


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """A text without passwords, keys and tokens.

    Args:
        text: a message, log line or record.
        secrets: further ones than those of `configure`.
    """
    more, more_short = _compile(secrets) if secrets else (None, [])
    for pattern in (_known, more):
        if pattern is not None:
            text = pattern.sub(HIDDEN, text)
    for secret in (*_short, *more_short):
        # Replaced everywhere, a short secret could be read from the gaps.
        text = re.sub(rf"([:=]\s*['\"]?){re.escape(secret)}(?=[@'\"&\s]|$)", rf"\1{HIDDEN}", text)
    return _redact_looks(text)


def _redact_looks(text: str) -> str:
    """A text without what looks like a secret."""
    # Every log line and event is searched; the patterns cost a hundred times as much as the cues.
    lower = text.lower() if text.isascii() else None
    for cues, regex, replacement in _REPLACEMENTS:
        if lower is None or any(cue in lower for cue in cues):
            text = regex.sub(replacement, text)
    return text


def has_secret(text: str) -> bool:
    """Returns whether a text looks as if it had a password, a key or a token."""
    return _redact_looks(text) != text or any(True for _ in secrets_of_url(text))


def is_secret_name(name: str) -> bool:
    """Returns whether an option of this name is a secret, such as AWS_SECRET_ACCESS_KEY."""
    return _NAMED.fullmatch(name) is not None


def secrets_of_url(url: str) -> set[str]:
    """Passwords of a URL, as they are and decoded: of its user, and of its options."""
    secrets: set[str] = set()
    location, _, query = url.partition("://")[2].partition("?")
    first, at, end = location.partition("@")
    last = location.rpartition("@")[0]
    for authority in (first, last) if at else ():
        secrets.add(authority.partition(":")[2])
    if last != first:
        # A driver takes the rest of a password with an unescaped @ for the host.
        secrets |= {end.rpartition("@")[0], re.split("[:/]", end)[0]}
    for option in re.split("[&;]", query):
        name, _, value = option.partition("=")
        if is_secret_name(name):
            secrets.add(value)
    decoded = {decode(secret) for secret in secrets for decode in (unquote, unquote_plus)}
    return (secrets | decoded) - {"", HIDDEN}


def environment_secrets() -> set[str]:
    """Secrets of the process's variables: passwords, tokens and keys, and those in URLs."""
    secrets: set[str] = set()
    addresses = (os.environ.get(name, "") for name in (ALERT_URLS, REPORT_URLS))
    for url in " ".join(addresses).split():
        parts = re.split(r"[/:@?&=]+", url.partition("://")[2])
        # Tokens are anywhere in them; a name with a dot is a host or a sender.
        named = (part for part in parts if "." not in part and part != "localhost")
        secrets |= {text for part in named for text in (part, unquote(part)) if len(text) >= 6}
    for name, value in os.environ.items():
        if not _VARIABLES.search(name) or name in _FOLDERS:
            continue
        secrets |= secrets_of_url(value)
        if KEY_LIST.search(name):
            secrets |= {key for part in value.split(",") if len(key := part.strip()) >= 6}
        if is_secret_name(name) and "://" not in value and len(value) >= 6:
            secrets.add(value)
    return secrets


def mask(value: object) -> str:
    """A value of a row for messages: `…`, unless `execution.show_identifiers` is set."""
    return str(value) if _shows_identifiers else MASKED


def shows_identifiers() -> bool:
    """Returns whether `execution.show_identifiers` is set in this process."""
    return _shows_identifiers


def redact_logs() -> None:
    """Lets every log record of this process go through `redact`."""
    make_record = logging.getLogRecordFactory()
    if getattr(make_record, "redacts", False):
        return

    def make_redacted(*args: object, **kwargs: object) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # its arguments do not fit: the handler reports it
            return record
        clean = redact(text)
        if clean != text:
            record.msg, record.args = clean, ()
        if record.exc_info and record.exc_info[1] is not None:
            text = logging.Formatter().formatException(record.exc_info)
            clean = redact(text)
            if clean != text:
                record.exc_info, record.exc_text = None, clean
        return record

    make_redacted.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(make_redacted)


def _compile(secrets: Iterable[str]) -> tuple[re.Pattern[str] | None, list[str]]:
    """A pattern of every form of the long secrets, and the forms of the short ones."""
    forms = {form for secret in secrets for form in _forms(secret)} - {""}
    long = sorted((form for form in forms if len(form) >= _SHORTEST_SECRET), key=len, reverse=True)
    short = sorted((form for form in forms if len(form) < _SHORTEST_SECRET), key=len, reverse=True)
    return (re.compile("|".join(map(re.escape, long))) if long else None), short


def _forms(secret: str) -> Iterable[str]:
    """A secret as it is, and as URLs, JSON and Python write it."""
    quoted = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    lower = {re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), form) for form in quoted}
    plain = {secret, *quoted, *lower}
    escaped = {json.dumps(form)[1:-1] for form in plain} | {repr(form)[1:-1] for form in plain}
    escaped |= {json.dumps(form, ensure_ascii=False)[1:-1] for form in plain}
    return plain | escaped
