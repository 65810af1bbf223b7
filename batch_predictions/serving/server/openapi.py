"""The OpenAPI description: what FastAPI derives from the routes, with keys, errors and headers."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from batch_predictions.serving.http.access import required_scope
from batch_predictions.serving.http.answer_models import ProblemBody
from batch_predictions.serving.http.problems import (
    BODY_TOO_LARGE,
    CONTENT_TYPE,
    MISSING_SCOPE,
    NO_HOME,
    NO_KEY,
    NO_RELEASE,
    NOT_FOUND,
    NOT_PREDICTED,
    RELEASE_REMOVED,
    TOO_MANY_REQUESTS,
    WRITES_UNAVAILABLE,
    WRONG_ENCODING,
    WRONG_REQUEST,
    ProblemType,
)

DESCRIPTION = """Predictions of the current release: recommendations, audiences, sentiments,
forecasts, orders, and tables of plugins.

- Every answer is of one release, which `release_id` names, also while the next one is published.
- Documented keys stay, with their types and meanings, as long as the version of the API is 1.
  New keys may come: ignore those that you do not know.
- Errors are `application/problem+json` (RFC 9457); `type` is the address of an explanation.
- What is posted is stored when the answer says so; sent again, it counts once.
- Answers have an `ETag`: send it as `If-None-Match`, and an answer that you have is 304. The tag
  does not depend on `age_seconds`, the age when the answer was sent.
"""
TAGS = [
    {"name": "recommendations", "description": "Lists of users, known and unknown ones."},
    {"name": "users", "description": "Everything that is predicted of a user; sign-ups."},
    {"name": "feedback", "description": "What users did with the items that they were shown."},
    {"name": "audiences", "description": "Customers to contact."},
    {"name": "items", "description": "Sentiment, forecasts and orders."},
    {"name": "tables", "description": "Any published table, those of plugins included."},
    {"name": "releases", "description": "What is served, and what could be."},
    {"name": "operation", "description": "Health, readiness, metrics."},
]
_REF = {"schema": {"$ref": "#/components/schemas/ProblemBody"}}
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same."},
}
_ETAG = {
    "ETag": {"schema": {"type": "string"}, "description": "By release and parameters."},
    "Cache-Control": {
        "schema": {"type": "string"},
        "description": "Until the next release is due; no-cache where a sign-up may change it.",
    },
}


def describe(api: FastAPI) -> dict[str, object]:
    """The description, made once."""
    if api.openapi_schema is None:
        schema = get_openapi(
            title=api.title,
            version=api.version,
            description=api.description,
            tags=api.openapi_tags,
            routes=api.routes,
        )
        components = schema["components"]
        components["schemas"].pop("HTTPValidationError", None)
        components["schemas"].pop("ValidationError", None)
        components["schemas"]["ProblemBody"] = ProblemBody.model_json_schema()
        components["securitySchemes"] = _SECURITY
        for path, methods in schema["paths"].items():
            for method, operation in methods.items():
                _complete(method.upper(), path, operation)
        api.openapi_schema = schema
    return api.openapi_schema


def _complete(method: str, path: str, operation: dict[str, Any]) -> None:
    """Adds keys, errors and headers to an operation."""
    scope = required_scope(method, path)
    responses = operation["responses"]
    responses.pop("422", None)
    problems: list[ProblemType] = []
    if path not in ("/healthz", "/metrics"):
        problems += [WRONG_REQUEST, WRONG_ENCODING]
    if scope is not None:
        operation["security"] = [{"bearer": []}, {"header": []}, {}]
        operation["description"] += f"\n\nScope of the key: `{scope}`."
        problems += [NO_KEY, MISSING_SCOPE, TOO_MANY_REQUESTS]
    if scope == "write":
        problems += [WRITES_UNAVAILABLE, BODY_TOO_LARGE, NOT_FOUND]
    elif path.startswith("/v1/"):
        problems += [NOT_PREDICTED, NO_RELEASE]
        if method == "GET":
            responses["200"]["headers"] = _ETAG
            responses["304"] = {"description": "The client has this answer already."}
    if path == "/readyz":
        problems.append(NO_RELEASE)
    if path.startswith("/problems/"):
        problems.append(NOT_PREDICTED)
    if any(parameter["name"] == "page_token" for parameter in operation.get("parameters", ())):
        problems.append(RELEASE_REMOVED)
    if operation["operationId"] == "erase_user":
        problems.append(NO_HOME)
    for problem in problems:
        responses[str(problem.status)] = {
            "description": problem.title,
            "content": {CONTENT_TYPE: _REF},
        }
    operation["responses"] = dict(sorted(responses.items()))
