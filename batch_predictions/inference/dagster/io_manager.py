"""Passes paths between the steps of a prediction as JSON; rows never pass between steps."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg

from batch_predictions.core.durability import atomic_write
from batch_predictions.core.home_bucket import fetch, share
from batch_predictions.inference.cleanup import HANDLES

_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def unfinished_runs(instance: dg.DagsterInstance) -> list[str]:
    """Ids of the runs whose outputs may still be read."""
    return [run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED))]


class JsonPathIOManager(dg.ConfigurableIOManager):
    """Stores a step's output as `<home>/inference/.handles/<run>/<step>.<output>.json`.

    The default IO manager pickles, and refuses ranges of partitions.
    """

    home: str
    shared: bool = False

    def handle_output(self, context: dg.OutputContext, obj: dict[str, str]) -> None:
        """Writes an output: manifest paths by partition key, from the home's folder."""
        path, home = self._path(context), Path(self.home)
        path.parent.mkdir(parents=True, exist_ok=True)
        names = {key: str(Path(value).relative_to(home)) for key, value in obj.items()}
        atomic_write(path, json.dumps(names))
        if self.shared:
            share(path)

    def load_input(self, context: dg.InputContext) -> dict[str, str]:
        """Reads the output of the step before."""
        assert context.upstream_output is not None
        path = self._path(context.upstream_output)
        if self.shared:
            fetch(path.parent)
        names: dict[str, str] = json.loads(path.read_text("utf-8"))
        return {key: str(Path(self.home) / name) for key, name in names.items()}

    def _path(self, context: dg.OutputContext) -> Path:
        folder = Path(self.home) / "inference" / HANDLES / context.run_id
        return folder / f"{context.step_key}.{context.name}.json"
