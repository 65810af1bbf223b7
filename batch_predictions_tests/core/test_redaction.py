"""Secrets that are planted in texts of every form do not come out again."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import pytest
import sqlalchemy as sa
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from batch_predictions.core import redaction
from batch_predictions.core.redaction import (
    configure,
    has_secret,
    is_secret_name,
    mask,
    redact,
    redact_logs,
    secrets_of_url,
)

PASSWORDS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="*"), min_size=4, max_size=20
).filter(
    lambda text: not set(text) <= set(" postgresql+psycopg://user@host:5432/shop?password=\"'")
)
"""Passwords that the texts of the tests do not have by chance."""


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    redaction._known, redaction._short, redaction._shows_identifiers = None, [], False


def url_with(password: str, host: str = "host") -> str:
    url = sa.URL.create("postgresql+psycopg", "user", password, host, 5432, "shop")
    return url.render_as_string(hide_password=False)


def texts_with(password: str, url: str) -> list[str]:
    """Texts as drivers, SQLAlchemy, YAML, JSON and Python write them."""
    return [
        f"could not connect with {url}",
        f'connection to server failed: password "{password}" is wrong',
        json.dumps({"error": f"invalid {password}"}),
        json.dumps({"error": f"invalid {password}"}, ensure_ascii=False),
        repr({"password": password}),
        repr(password),
        yaml.safe_dump({"password": password}),
        f"host=host user=user password={password} dbname=shop",
        f"postgresql://host/shop?user=user&password={quote(password, safe='')}",
        f"postgresql://host/shop?password={quote_plus(password)}&user=user",
        quote(password, safe="").lower(),
    ]


def assert_hidden(password: str, text: str) -> None:
    clean = redact(text)
    forms = {password, quote(password), quote(password, safe=""), json.dumps(password)[1:-1]}
    assert not any(form in clean for form in forms), (text, clean)


@given(password=PASSWORDS)
@example(password="s3cret/ü%@:w")
@example(password="p@ss:w@rd")
@example(password='quo"te\\')
def test_the_password_of_a_url_is_hidden_in_every_text(password: str) -> None:
    url = url_with(password)
    configure([url], show_identifiers=False)
    for text in texts_with(password, url):
        assert_hidden(password, text)


@given(password=PASSWORDS)
def test_the_password_of_an_option_is_hidden_in_every_text(password: str) -> None:
    url = f"postgresql+psycopg://host/shop?user=user&password={quote(password, safe='')}"
    configure([url], show_identifiers=False)
    for text in texts_with(password, url):
        assert_hidden(password, text)


@given(
    password=st.text("abcXYZ0189-_.!:/#@", min_size=4, max_size=16).map(
        lambda text: f"{text}@{text}x"
    )
)
@example(password="p@ss")
def test_a_password_with_an_unescaped_at_is_hidden_whole(password: str) -> None:
    url = f"postgresql+psycopg://user:{password}@host:5432/shop"
    assert password not in redact(f"cannot read {url}: invalid")
    configure([url], show_identifiers=False)
    # What a driver takes for the host.
    rest = password.partition("@")[2]
    for text in (f'could not translate host name "{password}"', f"no host {rest}@host"):
        assert password not in redact(text) and f"{rest}@host" not in redact(text)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("see postgresql://ann:secret@host/db", "see postgresql://ann:***@host/db"),
        ("https://token@host/a?b=c", "https://***@host/a?b=c"),
        ("https://host/a?sv=1&sig=abc%2B&se=2", "https://host/a?sv=1&sig=***&se=2"),
        ("X-Amz-Signature=0af&X-Amz-Credential=AK/1", "X-Amz-Signature=***&X-Amz-Credential=***"),
        ("host=h password='a b' dbname=d", "host=h password=*** dbname=d"),
        ("AccountKey=abc==;AccountName=n", "AccountKey=***;AccountName=n"),
        ("{'client_secret': 'abc', 'id': 1}", "{'client_secret': '***', 'id': 1}"),
        ('{"aws_secret_access_key": "abc"}', '{"aws_secret_access_key": "***"}'),
        ("in line 3\n  password: a b\n  user: c", "in line 3\n  password: ***\n  user: c"),
        ("Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer ***"),
        ("key AKIAIOSFODNN7EXAMPLE is unknown", "key *** is unknown"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, clean: str) -> None:
    assert redact(text) == clean
    assert redact(clean) == clean


@pytest.mark.parametrize(
    "text",
    [
        'password authentication failed for user "ann"',
        "the key (user_id, rank) is not unique",
        "tokens=5 max_tokens=7, asset_key=a/b, key=value",
        "/home/shop/.batch_predictions/warehouse/raw/items/data.parquet",
        "http://127.0.0.1:3000/runs and s3://bucket/folder/file.csv",
        "release 2024-03-03-014b9523 is served now",
    ],
)
def test_other_texts_stay(text: str) -> None:
    assert redact(text) == text
    assert not has_secret(text)


def test_short_passwords_are_hidden_where_they_are_written_as_such() -> None:
    configure(["postgresql://ann:p@host/db"], show_identifiers=False)
    assert redact("p: p and password=p, up") == "p: *** and password=***, up"


def test_secrets_of_variables_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setenv("PGPASSWORD", "hunter22")
    monkeypatch.setenv("SHOP_DATABASE_URL", "mysql://a:bcdefg@host/db")
    monkeypatch.setenv("SORT_KEY", "user_id")
    configure([], show_identifiers=False)
    text = redact("wJalrXUtnFEMI hunter22 bcdefg user_id")
    assert text == "*** *** *** user_id"


def test_names_of_secrets() -> None:
    names = ["password", "sslpassword", "PGPASSWORD", "client_secret", "AWS_ACCESS_KEY_ID", "sig"]
    assert all(map(is_secret_name, [*names, "accountKey", "X-Amz-Security-Token"]))
    others = ["key", "asset_key", "tokens", "design", "user", "sslkey_path", "secretary", "signal"]
    assert not any(map(is_secret_name, others))


def test_both_ends_of_an_ambiguous_password_are_secrets() -> None:
    assert secrets_of_url("postgresql://u:p%40@s@host/db") == {
        "p%40",
        "p@",
        "p%40@s",
        "p@@s",
        "s",
        "s@host",
    }
    assert secrets_of_url("s3://bucket/a@b") == set()
    assert secrets_of_url("no url") == set()


def test_log_records_are_redacted(caplog: pytest.LogCaptureFixture) -> None:
    before = logging.getLogRecordFactory()
    configure(["postgresql://ann:s3cret-pass@host/db"], show_identifiers=False)
    try:
        redact_logs()
        redact_logs()  # once is enough
        logger = logging.getLogger("any")
        logger.warning("with %s", "s3cret-pass")
        logger.warning("of %d rows", 5)
        logger.warning("of %s rows", ("a", "b"))
        try:
            raise ValueError("s3cret-pass is wrong")
        except ValueError:
            logger.exception("failed")
    finally:
        logging.setLogRecordFactory(before)
    assert "s3cret-pass" not in caplog.text
    assert "with ***" in caplog.text and "of 5 rows" in caplog.text
    assert "ValueError: *** is wrong" in caplog.text and "Traceback" in caplog.text


def test_a_traceback_is_redacted() -> None:
    configure(["postgresql://ann:s3cret-pass@host/db"], show_identifiers=False)
    try:
        raise ConnectionError("refused for s3cret-pass")
    except ConnectionError as error:
        text = redact("".join(traceback.format_exception(error)))
    # The line of the source is part of a traceback.
    assert "s3cret-pass" not in text and "ConnectionError: refused for ***" in text


def test_identifiers_are_masked_unless_the_settings_show_them() -> None:
    assert mask("u17") == "…"
    configure([], show_identifiers=True)
    assert mask("u17") == "u17" and mask(("u", 1)) == "('u', 1)"


@pytest.mark.parametrize(
    "name",
    [
        *("password", "Passwd", "PASSPHRASE", "secret", "my_token", "credential", "signature"),
        *("x-api-key", "accesskey", "ACCOUNT_KEY", "client-key", "encryption_key_id", "privatekey"),
        *("shared_key", "SigningKey", "db.pwd", "sig", "sas"),
    ],
)
def test_every_name_of_a_secret_is_recognised_in_upper_and_lower_case(name: str) -> None:
    for text in (f"{name}=hunter22", f'"{name}": "hunter22"', f"{name}: hunter22"):
        assert "hunter22" not in redact(text)
        assert "hunter22" not in redact(f"é\n{text}")


def test_each_key_of_a_list_is_a_secret_and_a_shell_s_folder_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BATCH_PREDICTIONS_HTTP_READ_KEYS", "first-key-0123, second-key-456,")
    monkeypatch.setenv("PWD", "/srv/shop")
    monkeypatch.setenv("OLDPWD", "/srv/before")
    secrets = redaction.environment_secrets()
    assert {"first-key-0123", "second-key-456"} <= secrets
    assert not {"/srv/shop", "/srv/before"} & secrets
    redaction.configure([], show_identifiers=False)
    assert "second-key-456" not in redaction.redact("wrong: second-key-456 of /srv/shop")
    assert "/srv/shop" in redaction.redact("wrong: second-key-456 of /srv/shop")


def test_parts_of_the_addresses_of_alerts_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = (
        "slack://T1JJ3T3L2/A1BRTD4JD/x mailto://ann:pa%21ssword@mail.shop.example json://localhost"
    )
    monkeypatch.setenv("BATCH_PREDICTIONS_ALERT_URLS", urls)
    secrets = redaction.environment_secrets()
    assert {"T1JJ3T3L2", "A1BRTD4JD", "pa!ssword"} <= secrets
    assert not {"mail.shop.example", "localhost"} & secrets
