"""Executes jobs of the platform in this process, recorded in the home's Dagster instance.

A job is cut down to what the source feeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from batch_predictions.automation import instance as home_instance
from batch_predictions.automation.jobs import JobSpec
from batch_predictions.automation.progress import LOGGER, ProgressBar, weight
from batch_predictions.tables import Table

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


class RunError(RuntimeError):
    """A job of the chain failed; the message is its cause."""


class JobRunner:
    """Executes jobs of the platform in this process."""

    def __init__(
        self, instance: dg.DagsterInstance, definitions: dg.Definitions, lacking: Sequence[Table]
    ) -> None:
        self.instance = instance
        self.graph = definitions.resolve_asset_graph()
        self.lacking = lacking
        roots = dg.AssetSelection.assets(*(["raw", table.name] for table in lacking))
        fed = roots.downstream(include_self=False) - dg.AssetSelection.groups("serving")
        self.unfed = fed.resolve(self.graph) if lacking else set()

    def skipped(self) -> list[str]:
        """What the source does not feed, for people."""
        names = sorted(key.path[-1] for key in self.unfed if key.path[0] == "predictions")
        tables = " and ".join(table.name for table in self.lacking)
        return [f"{', '.join(names)}: the source has no {tables}"] if names else []

    def keys(self, job: JobSpec, groups: Sequence[str] = ()) -> list[dg.AssetKey]:
        """Assets of a job, or of some of its stages."""
        chosen = job.selection
        if groups:
            chosen = chosen & dg.AssetSelection.groups(*groups)
        return sorted(chosen.resolve(self.graph) - self.unfed)

    def weight(self, job: JobSpec, groups: Sequence[str] = ()) -> float:
        """How long a job's steps take, relative to others."""
        # By node: the steps of a prediction with companions make several assets.
        assets = (self.graph.get(key).assets_def for key in self.keys(job, groups))
        nodes = {each.node_def.name: each.node_def for each in assets}
        return sum(weight(name) for name, node in nodes.items() for _ in node.iterate_op_defs())

    def execute(
        self, job: JobSpec, keys: Sequence[str], shown: ProgressBar, groups: Sequence[str] = ()
    ) -> None:
        """Runs a job, or some of its stages, for one partition or a range of them.

        Raises:
            RunError: a step failed; its first cause is the message.
        """
        selected = self.keys(job, groups)
        if not selected:
            return
        for holder in home_instance.slot_holders(self.instance, "gpu"):
            shown.log(f"waiting for the pool gpu, held by {holder}")
        first, last = min(keys), max(keys)
        tags = {home_instance.OWNER_TAG: home_instance.owner()}
        if first == last:
            tags["dagster/partition"] = first
        else:
            tags |= {RANGE_START: first, RANGE_END: last}
        reconstructable = dg.build_reconstructable_job(
            "batch_predictions.definitions", "job", reconstructable_args=(job.name,)
        )
        with dg.execute_job(
            reconstructable,
            instance=self.instance,
            tags=tags,
            run_config={"loggers": {LOGGER: {}}},
            asset_selection=selected,
            raise_on_error=False,
        ) as result:
            if not result.success:
                raise RunError(f"{job.name} for {first} to {last} failed: {_cause(result)}")


def _cause(result: dg.JobExecutionResult) -> str:
    """The first failure's own words, without the stack."""
    for event in result.all_events:
        if event.event_type_value == "STEP_FAILURE":
            data = event.step_failure_data
            if data.user_failure_data and data.user_failure_data.description:
                return str(data.user_failure_data.description)
            error = data.error
            while error is not None and error.cause is not None:
                error = error.cause
            if error is not None:
                return f"{event.step_key}: {error.message.strip()}"
    return f"see run {result.run_id} in the UI"
