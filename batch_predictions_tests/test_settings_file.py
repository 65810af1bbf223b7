"""A settings file says everything once, and a hostile one costs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_predictions.settings import Settings, SettingsError, loading


def load(folder: Path, text: str) -> Settings:
    (folder / "home").mkdir()
    (folder / "home" / "batch_predictions.yaml").write_text(text)
    return Settings.load(folder / "home")


def alias_bomb(levels: int) -> str:
    """Lists of ten aliases of the list before: 10 ** levels values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        aliases = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{aliases}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("duckdb: {threads: 1}\nduckdb: {threads: 2}\n", "twice in a mapping .*line 2, column 1"),
        ("source:\n  where: {items: a, items: b}\n", "twice in a mapping .*line 2, column 21"),
        (alias_bomb(9), r"more than 100,000 values .*line 5"),
        ("a: &a [*a]\n", r"more than 100,000 values"),
        ("[" * 20_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_ambiguous_or_hostile_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        load(tmp_path, text)


def test_norway_is_a_country(tmp_path: Path) -> None:
    text = "demand: {holidays: NO}\nexecution: {show_identifiers: yes}\n"
    settings = load(tmp_path, text)
    assert settings.demand.holiday_country == "NO"
    assert settings.execution.show_identifiers is True


def test_times_and_leading_zeros_are_what_they_look_like(tmp_path: Path) -> None:
    text = "source: {where: {items: 12:30:45}}\nduckdb: {threads: 010}\n"
    settings = load(tmp_path, text)
    assert settings.source.where == {"items": "12:30:45"}
    assert settings.duckdb.threads == 10


@pytest.mark.parametrize("value", ["5", "exact_reasons", "[exact_reasons]"])
def test_a_section_that_is_no_mapping_is_named(tmp_path: Path, value: str) -> None:
    with pytest.raises(SettingsError, match="setting recommendations"):
        load(tmp_path, f"recommendations: {value}\n")


def test_anchors_and_merged_keys_stay_possible(tmp_path: Path) -> None:
    text = "duckdb: &limits {threads: 3}\nsource: {where: {<<: {items: a}, items: b}}\n"
    settings = load(tmp_path, text)
    assert settings.duckdb.threads == 3
    assert settings.source.where == {"items": "b"}


def test_a_removed_setting_is_told_in_one_line_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loading._warn_once.cache_clear()
    text = "recommendations: {exact_reasons: true, k: 7}\n"
    assert load(tmp_path, text).recommendations.k == 7
    assert Settings.load(tmp_path / "home").recommendations.k == 7
    assert caplog.text.count("recommendations.exact_reasons no longer exists") == 1
