"""Converts MR (Pang and Lee 2005), two files of sentences, to a TSV for `benchmark sentiment`.

    python benchmarks/sentence_polarity.py FOLDER mr.tsv

MR overlaps with the film snippets of VADER's evaluation set: never train on one and test on the
other.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path


def main(folder: Path, target: Path) -> None:
    """Writes one row per sentence, with its label."""
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["text", "label"])
        for suffix, label in (("neg", "negative"), ("pos", "positive")):
            for line in (folder / f"rt-polarity.{suffix}").read_text("utf-8").splitlines():
                writer.writerow([line, label])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
