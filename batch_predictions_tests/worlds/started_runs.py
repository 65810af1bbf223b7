"""Dagster runs as a killed process leaves them."""

from __future__ import annotations

import dagster as dg

from batch_predictions.orchestration.job_runner import POOL


@dg.job
def job() -> None:
    pass


def start_run(
    instance: dg.DagsterInstance, tags: dict[str, str], of: dg.JobDefinition = job
) -> str:
    """A run of a job that has started and claims the pool's slot."""
    run = instance.create_run_for_job(of, tags=tags)
    instance.report_engine_event("started", run)
    instance.handle_new_event(
        dg.EventLogEntry(
            error_info=None,
            level=10,
            user_message="",
            run_id=run.run_id,
            timestamp=0.0,
            dagster_event=dg.DagsterEvent(
                event_type_value="PIPELINE_START", job_name=of.name, message=""
            ),
        )
    )
    storage = instance.event_log_storage
    storage.initialize_concurrency_limit_to_default(POOL)
    storage.claim_concurrency_slot(POOL, run.run_id, "recommendations__score")
    return run.run_id
