"""The description: documented keys stay, everything is explained, and the service keeps to it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from batch_predictions.serving.http import answer_examples, answer_models
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.serving.server.http_app import make_api
from batch_predictions.settings import Settings
from batch_predictions_tests.worlds.http_service import publish_all, running_service
from batch_predictions_tests.worlds.serving import open_world

DOCUMENTED_KEYS = Path(__file__).parent / "documented_keys.txt"
WRITE = "python batch_predictions_tests/serving/server/write_documented_keys.py"


def description() -> dict[str, Any]:
    """The OpenAPI description."""
    schema: dict[str, Any] = make_api(PredictionService(Settings())).openapi()
    return schema


def documented_keys(schema: dict[str, Any]) -> Iterator[str]:
    """Every key of every answer, with its address, and every parameter."""
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            name = f"{method.upper()} {path}"
            for parameter in operation.get("parameters", ()):
                yield f"{name} ?{parameter['name']}"
            if "requestBody" in operation:
                content = operation["requestBody"]["content"]["application/json"]
                yield from (f"{name} body {k}" for k in keys_of(content["schema"], schema))
            for status, response in operation["responses"].items():
                for media_type, content in response.get("content", {}).items():
                    yield f"{name} {status} {media_type}"
                    for key in keys_of(content.get("schema", {}), schema):
                        yield f"{name} {status} {key}"


def keys_of(node: dict[str, Any], schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The keys of a JSON schema, dotted; [] is an item of a list."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        yield from keys_of(schema["components"]["schemas"][name], schema, prefix)
    for choice in node.get("anyOf", ()):
        yield from keys_of(choice, schema, prefix)
    if "items" in node:
        yield from keys_of(node["items"], schema, f"{prefix}[]")
    for key, inner in node.get("properties", {}).items():
        dotted = f"{prefix}.{key}" if prefix else key
        yield dotted
        yield from keys_of(inner, schema, dotted)


def test_documented_keys_stay() -> None:
    committed = set(DOCUMENTED_KEYS.read_text(encoding="utf-8").splitlines())
    current = set(documented_keys(description()))
    assert len(committed) > 300
    assert not committed - current, "clients rely on these keys: they stay"
    assert not current - committed, f"new keys stay from now on: {WRITE}"


def test_everything_is_explained_with_an_example() -> None:
    schema = description()
    missing = []
    tags = {tag["name"] for tag in schema["tags"]}
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            name = f"{method.upper()} {path}"
            missing += [f"{name}: description"] * (len(operation.get("description", "")) < 20)
            missing += [f"{name}: tag"] * (not tags & set(operation["tags"]))
            for parameter in operation.get("parameters", ()):
                text = f"{name} ?{parameter['name']}"
                missing += [text] * ("description" not in parameter)
                if parameter["in"] == "path":
                    missing += [f"{text}: example"] * ("examples" not in parameter["schema"])
            content = operation["responses"]["202" if method == "delete" else "200"]["content"]
            for media_type, entry in content.items():
                if media_type == "application/json":
                    model = schema["components"]["schemas"][entry["schema"]["$ref"].split("/")[-1]]
                    has_example = "example" in model or "/problems/" in path
                    missing += [f"{name}: example"] * (not has_example)
    assert not missing, missing
    for name, model in schema["components"]["schemas"].items():
        properties = model.get("properties", {})
        without = [key for key, entry in properties.items() if "description" not in entry]
        assert not without, name


def test_examples_are_valid() -> None:
    examples_checked = 0
    for model in vars(answer_models).values():
        extra = getattr(model, "model_config", {}).get("json_schema_extra")
        if isinstance(extra, dict):
            model.model_validate(extra["example"])
            examples_checked += 1
    assert examples_checked >= 20
    answer_models.Recommendations.model_validate(answer_examples.RECOMMENDATIONS)


def test_the_description_is_json_and_names_keys_and_problems() -> None:
    schema = json.loads(json.dumps(description()))
    operation = schema["paths"]["/v1/recommendations/{user_id}"]["get"]
    assert {"200", "304", "400", "401", "403", "404", "422", "429", "503"} == set(
        operation["responses"]
    )
    assert list(operation["responses"]["422"]["content"]) == ["application/problem+json"]
    assert operation["security"][0] == {"bearer": []}
    assert "security" not in schema["paths"]["/healthz"]["get"]
    assert "410" in schema["paths"]["/v1/orders"]["get"]["responses"]


MAX_ADDRESS_BYTES = 65_000
"""Of longer addresses the server answers 400, as docs/reference/http.md says."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service of every table."""
    world = open_world(tmp_path_factory.mktemp("http") / "home")
    publish_all(world)
    with running_service(world.settings) as client:
        yield client.url
    world.store.close()


@pytest.mark.slow
def test_generated_requests_meet_no_fault_and_the_answers_are_as_described(url: str) -> None:
    """Requests that schemathesis makes of the description, valid and invalid ones."""
    schemathesis = pytest.importorskip("schemathesis", reason="extra dev")
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis.errors import Unsatisfiable

    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    checks = schemathesis.checks
    operations = list(schema.get_all_operations())
    assert len(operations) >= 15
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    n_negative = 0
    for result, mode in itertools.product(operations, modes):
        operation = result.ok()

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=10,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def send(case: Any) -> None:
            response = case.call(timeout=60)
            assert response.status_code < 500, response.text
            if response.status_code == 400 and len(response.request.url) > MAX_ADDRESS_BYTES:
                return  # The server refuses it before the service sees it.
            case.validate_response(
                response,
                checks=[
                    checks.not_a_server_error,
                    checks.status_code_conformance,
                    checks.content_type_conformance,
                    checks.response_schema_conformance,
                ],
            )

        if mode is schemathesis.GenerationMode.POSITIVE:
            send()
            continue
        with suppress(Unsatisfiable):  # of an address without parameters nothing can be wrong
            send()
            n_negative += 1
    assert n_negative >= 8
