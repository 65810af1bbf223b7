"""`/v1/predictions`: any published table by its key, those of plugins included."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from batch_predictions.serving.http.answer_models import RowsPage, TablesAnswer
from batch_predictions.serving.http.answers import answer
from batch_predictions.serving.http.pages import read_page
from batch_predictions.serving.http.problems import NOT_PREDICTED, WRONG_REQUEST, ProblemError
from batch_predictions.serving.http.query_parameters import DEFAULT_LIMIT, Id, Limit, PageToken
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.serving.lookup.ranked import not_published
from batch_predictions.tables.identifiers import id_problem

TableName = Annotated[Id, Path(description="A table of the release.", examples=["churn_scores"])]
Key = Annotated[Id, Path(description="Value of the first column of its key.", examples=["1"])]
_OTHER_PARAMETERS = {"limit", "page_token"}


def make_router(service: PredictionService) -> APIRouter:
    """Makes the routes of `/v1/predictions`."""
    router = APIRouter(prefix="/v1", tags=["tables"])

    @router.get("/predictions", operation_id="get_tables", response_model=TablesAnswer)
    async def get_tables(request: Request) -> Response:
        """The tables of the current release, with their keys and columns."""
        _, release = await service.look_up(lambda lookup: None)
        tables = [
            {
                "table": name,
                "partition": entry["partition"],
                "rows": entry["rows"],
                "key": entry["key"],
                "columns": entry["columns"],
            }
            for name, entry in release.served.tables.items()
        ]
        return answer(request, release, "releases", {"tables": tables})

    @router.get("/predictions/{table}/{key:path}", operation_id="get_rows", response_model=RowsPage)
    async def get_rows(
        request: Request,
        table: TableName,
        key: Key,
        limit: Limit = DEFAULT_LIMIT,
        page_token: PageToken = None,
    ) -> Response:
        """Rows of a table by the first column of its key, in the order of the key.

        Every further parameter is a condition on the column of its name, such as `?location=all`.
        """
        conditions = _conditions(request)
        _, current = await service.look_up(lambda lookup: None)
        if table not in current.served.tables:
            raise not_published(table, current.served)
        column = current.served.tables[table]["key"][0]
        conditions = {column: key, **{k: v for k, v in conditions.items() if k != column}}
        values = {name: service.ids.normalise(name, value) for name, value in conditions.items()}
        page, release = await read_page(service, table, values, limit, page_token)
        if not page["rows"] and page_token is None:
            raise ProblemError(
                NOT_PREDICTED, f"Release {release.served.release_id} has no such row of {table}."
            )
        content = {"partition": release.served.tables[table]["partition"], **page}
        return answer(request, release, table, content, page["rows"])

    return router


def _conditions(request: Request) -> dict[str, str]:
    """Conditions on columns: the parameters that are not the route's own."""
    conditions: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in _OTHER_PARAMETERS:
            continue
        if name in conditions:
            raise ProblemError(WRONG_REQUEST, "a column has two conditions: give one")
        if id_problem(name) or id_problem(value):
            raise ProblemError(WRONG_REQUEST, f"a condition {id_problem(name + value)}")
        conditions[name] = value
    return conditions
