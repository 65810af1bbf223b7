"""Adds the built site to a folder of versions: `python .ci/publish_site.py FOLDER VERSION`.

Writes FOLDER/VERSION, `versions.json`, from which the theme makes its menu of versions, and an
`index.html` that leads to the newest. A version that is there already is replaced.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from packaging.version import Version

SITE = Path(__file__).resolve().parents[1] / "site"


def publish(site: Path, folder: Path, version: str) -> None:
    """Adds a built site as a version; the newest is `latest`.

    Raises:
        packaging.version.InvalidVersion: the version is not one, such as 1.2.0.
    """
    file = folder / "versions.json"
    entries = json.loads(file.read_text("utf-8")) if file.exists() else []
    names = {version, *(entry["version"] for entry in entries)}
    newest, *_ = ordered = sorted(names, key=Version, reverse=True)
    shutil.copytree(site, folder / version, dirs_exist_ok=True)
    titles = [
        {"version": name, "title": name, "aliases": ["latest"] if name == newest else []}
        for name in ordered
    ]
    file.write_text(json.dumps(titles, indent=1), encoding="utf-8")
    (folder / "index.html").write_text(
        f'<!doctype html><meta charset="utf-8"><title>batch_predictions</title>'
        f'<meta http-equiv="refresh" content="0; url={newest}/index.html">',
        encoding="utf-8",
    )


if __name__ == "__main__":
    publish(SITE, Path(sys.argv[1]), sys.argv[2])
