"""Carries paths between the steps of a prediction as JSON; frames never pass between steps."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg

from batch_predictions.home import atomic_write


class JsonPathIOManager(dg.ConfigurableIOManager):
    """Keeps a step's small output as `<home>/inference/.handles/<run>/<step>.<output>.json`.

    The default IO manager would pickle, and refuses ranges of partitions.
    """

    home: str

    def handle_output(self, context: dg.OutputContext, obj: dict[str, str]) -> None:
        """Writes an output: partition key to manifest path."""
        path = self._path(context)
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps(obj))

    def load_input(self, context: dg.InputContext) -> dict[str, str]:
        """Reads what the step before wrote."""
        assert context.upstream_output is not None
        handles: dict[str, str] = json.loads(self._path(context.upstream_output).read_text("utf-8"))
        return handles

    def _path(self, context: dg.OutputContext) -> Path:
        folder = Path(self.home) / "inference" / ".handles" / context.run_id
        return folder / f"{context.step_key}.{context.name}.json"
