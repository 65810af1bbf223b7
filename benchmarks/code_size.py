"""Lines of code by folder, without docstrings, comments and blank lines.

    python benchmarks/code_size.py 859cd75 HEAD

Prints a row for each folder of the package and of the tests, a column for each revision.
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOPS = ("batch_predictions", "batch_predictions_tests", "benchmarks")
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def count_code_lines(text: str) -> int:
    """Counts the lines of a module that have code; texts that stand alone are documentation."""
    documentation: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                documentation |= set(range(node.lineno, (node.end_lineno or 0) + 1))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            code |= set(range(token.start[0], token.end[0] + 1))
    return len(code - documentation)


def git(*arguments: str) -> str:
    """The output of a command of git in this repository."""
    command = ["git", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def count_by_folder(revision: str) -> Counter[str]:
    """Counts lines of code by the first two folders of the path, and of all, in a revision."""
    lines: Counter[str] = Counter()
    for name in git("ls-tree", "-r", "--name-only", revision, *TOPS).split():
        if name.endswith(".py"):
            count = count_code_lines(git("show", f"{revision}:{name}"))
            top, *rest = name.split("/")
            lines[f"{top}/{rest[0]}" if len(rest) > 1 else top] += count
            lines[f"{top} in all"] += count
    return lines


def main(revisions: list[str]) -> None:
    """Prints the table."""
    columns = [count_by_folder(revision) for revision in revisions]
    print(f"{'':42}" + "".join(f"{revision[:10]:>12}" for revision in revisions))
    for folder in sorted({folder for column in columns for folder in column}):
        print(f"{folder:42}" + "".join(f"{column[folder]:>12,}" for column in columns))


if __name__ == "__main__":
    main(sys.argv[1:] or ["HEAD"])
