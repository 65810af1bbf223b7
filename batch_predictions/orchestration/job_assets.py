"""The assets of each job that the source has data for."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import dagster as dg

from batch_predictions.orchestration.jobs import JobSpec
from batch_predictions.orchestration.progress import step_weight
from batch_predictions.tables import Table


class JobAssets:
    """Assets by job, without those that the source has no data for.

    Args:
        graph: the asset graph.
        missing: raw tables of events that the source lacks.

    Attributes:
        graph: the asset graph.
        missing: raw tables of events that the source lacks.
        skipped_assets: what depends on the missing tables, and is not executed.
    """

    def __init__(self, graph: dg.AssetGraph, missing: Sequence[Table]) -> None:
        self.graph = graph
        self.missing = missing
        roots = dg.AssetSelection.assets(*(["raw", table.name] for table in missing))
        dependent = roots.downstream(include_self=False) - dg.AssetSelection.groups("serving")
        self.skipped_assets = dependent.resolve(self.graph) if missing else set()

    def describe_skipped(self) -> list[str]:
        """A line about the predictions that the source has no data for; none if it has all."""
        names = sorted(key.path[-1] for key in self.skipped_assets if key.path[0] == "predictions")
        tables = " and ".join(table.name for table in self.missing)
        return [f"{', '.join(names)}: the source has no {tables}"] if names else []

    def keys(self, job: JobSpec, groups: Sequence[str] = ()) -> list[dg.AssetKey]:
        """Lists the assets of a job, or of some of its groups, that the source has data for."""
        selection = job.selection
        if groups:
            selection = selection & dg.AssetSelection.groups(*groups)
        return sorted(selection.resolve(self.graph) - self.skipped_assets)

    def weight(
        self,
        job: JobSpec,
        groups: Sequence[str] = (),
        only: Collection[dg.AssetKey] | None = None,
    ) -> float:
        """Relative duration of a job's steps, for the progress bar.

        Args:
            job: the job.
            groups: groups of assets; empty: all of the job.
            only: assets that count; None: all of the groups.
        """
        # By node, since a prediction with child tables is several assets of the same steps.
        keys = (key for key in self.keys(job, groups) if only is None or key in only)
        assets = (self.graph.get(key).assets_def for key in keys)
        nodes = {asset.node_def.name: asset.node_def for asset in assets}
        return sum(
            step_weight(name) for name, node in nodes.items() for _ in node.iterate_op_defs()
        )
