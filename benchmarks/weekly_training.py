"""A week's training of the recommender after another: with and without what the first has kept.

    python benchmarks/weekly_training.py HOME [--through SUNDAY]

Trains the recommender through the week before the last of a home and through the last (HOME is only
read), and the last once more with `training.cache: false`. Each is a process of its own. Prints
their seconds, CPU seconds and peak memory, what is kept on disk, and whether both trainings of the
last week give the same bytes and the same metrics.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import log, machine, print_json

WAREHOUSE = ("warehouse", "warehouse.duckdb", "warehouse.views", "state.yaml")
"""What a training reads of a home."""


def main() -> None:
    """Trains three times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("--through", type=dt.date.fromisoformat, help="else: the last training's")
    parser.add_argument("--train", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        print_json(train(args.home, dt.date.fromisoformat(args.train)))
        return
    through = args.through or last_training(args.home)
    result: dict[str, Any] = {"machine": machine(), "through": through.isoformat()}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for name in WAREHOUSE:
            source = args.home.resolve() / name
            if source.is_dir():
                (home / name).symlink_to(source)
            elif source.exists():
                shutil.copy(source, home / name)
        week_before = through - dt.timedelta(days=7)
        result["first week"] = run(home, week_before, cached=True)
        result["second week"] = run(home, through, cached=True)
        kept = [path for path in (home / "training_cache").rglob("*") if path.is_file()]
        result["kept_mib"] = round(sum(path.stat().st_size for path in kept) / 2**20, 1)
        result["second week, without"] = run(home, through, cached=False)
    one, other = result["second week"], result["second week, without"]
    result["is_equal"] = all(one[name] == other[name] for name in ("model", "metrics"))
    result["ratio"] = {
        name: round(one[name] / other[name], 3) for name in ("seconds", "cpu_seconds")
    }
    print_json(result)


def last_training(home: Path) -> dt.date:
    """The last day of the newest training of a home."""
    names = [path.name for path in (home / "models" / "recommender" / "decisions").glob("*.json")]
    return dt.date.fromisoformat(max(names)[:10])


def run(home: Path, through: dt.date, *, cached: bool) -> dict[str, Any]:
    """`train` in a process of its own."""
    log(f"training through {through}, {'with' if cached else 'without'} the cache")
    command = [sys.executable, __file__, str(home), "--train", through.isoformat()]
    cache = {"BATCH_PREDICTIONS_TRAINING__CACHE": json.dumps(cached)}
    process = subprocess.run(
        command, env={**os.environ, **cache}, check=True, stdout=subprocess.PIPE
    )
    result: dict[str, Any] = json.loads(process.stdout)
    return result


def train(home: Path, through: dt.date) -> dict[str, Any]:
    """Seconds, peak memory, and hashes of the model's files and metrics of one training."""
    os.environ["BATCH_PREDICTIONS_HOME"] = str(home)
    from batch_predictions.models.recommender.assets import train_recommender
    from batch_predictions.settings import Settings
    from batch_predictions.warehouse import Warehouse

    settings = Settings.load()
    wall, cpu = time.perf_counter(), time.process_time()
    trained = train_recommender(Warehouse.of(settings), settings, through, log)
    result = {
        "candidate": trained.candidate,
        "seconds": round(time.perf_counter() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    with tempfile.TemporaryDirectory() as folder:
        trained.write(Path(folder))
        digest = hashlib.sha256()
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    metrics = json.dumps([trained.metrics, trained.why, trained.parameters], default=str)
    return {
        **result,
        "model": digest.hexdigest()[:16],
        "metrics": hashlib.sha256(metrics.encode()).hexdigest()[:16],
    }


if __name__ == "__main__":
    main()
