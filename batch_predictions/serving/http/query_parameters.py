"""Parameters of requests, with what OpenAPI says of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator, Field

from batch_predictions.serving.http.recommendation_answers import (
    DEFAULT_K,
    MAX_FILTER_VALUES,
    MAX_K,
)
from batch_predictions.tables.identifiers import MAX_ID_BYTES, id_problem

DEFAULT_LIMIT, MAX_LIMIT = 100, 1_000
MAX_TOKEN_CHARACTERS = 4_096
_WITHOUT_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""What `id_problem` refuses, as OpenAPI can say it."""


def _check_text(text: str) -> str:
    problem = id_problem(text)
    if problem:
        raise ValueError(problem)
    return text


Text = Annotated[
    str, Field(max_length=MAX_ID_BYTES, pattern=_WITHOUT_CONTROLS), AfterValidator(_check_text)
]
"""A text that every store can be asked for."""
Id = Annotated[Text, Field(min_length=1)]

UserId = Annotated[
    Id,
    Path(description="The user, also one who is not known yet.", examples=["1"]),
]
ItemId = Annotated[
    Id,
    Path(
        description="The item. Of forecasts also category:NAME, the total of a category.",
        examples=["1082185"],
    ),
]
CampaignId = Annotated[Id, Path(description="The campaign.", examples=["26"])]
AgeBracket = Annotated[
    Text | None,
    Query(
        description="Such as 35-44, or an age; replaces the stored one of the user.",
        examples=["35-44"],
    ),
]
Gender = Annotated[
    Text | None,
    Query(description="As the source writes it; replaces the stored one.", examples=["F"]),
]
Location = Annotated[
    Text | None,
    Query(description="As the source writes it; replaces the stored one.", examples=["367"]),
]
K = Annotated[int, Query(description="Number of items.", ge=1, le=MAX_K, examples=[DEFAULT_K])]
Exclude = Annotated[
    list[Text],
    Query(
        description="Items that are not wanted, such as those in the basket; may be repeated. An "
        "address has up to 64 KB: a batch takes more.",
        max_length=MAX_FILTER_VALUES,
    ),
]
Categories = Annotated[
    list[Text],
    Query(
        description="Only items of these categories, in any case; may be repeated.",
        max_length=MAX_FILTER_VALUES,
    ),
]
Limit = Annotated[
    int, Query(description="Rows of a page at most.", ge=1, le=MAX_LIMIT, examples=[DEFAULT_LIMIT])
]
PageToken = Annotated[
    str | None,
    Query(
        description="`next_page_token` of the page before, with the same other parameters. All "
        "pages are of the release of the first one.",
        max_length=MAX_TOKEN_CHARACTERS,
    ),
]
