"""Prints docs/reference/http_clients.md: calls of the HTTP service in several languages.

    python .ci/client_page.py >docs/reference/http_clients.md

The calls are made of the service's OpenAPI description: its addresses, parameters and examples. A
test compares the page with this script's output, and runs the calls.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

sys.path.insert(0, str(Path(__file__).parents[1]))

from batch_predictions.serving.http.service import PredictionService
from batch_predictions.serving.server.http_app import make_api
from batch_predictions.settings import Settings

BASE = "http://127.0.0.1:8080"
HEADER = """\
# Calls of the HTTP service

Written by `python .ci/client_page.py` from the OpenAPI description: change that, not this page.
[http.md](http.md) explains the answers.

Replace the address and the ids, and set `API_KEY` if the service has keys. The calls need curl,
Node 18 or newer, PHP with curl, Java 11 or newer, or Python 3. In a browser, set
`http.cors_origins`, and send no key that reads more than the page may show.
"""


def curl(method: str, url: str, body: Any) -> str:
    """A call by curl."""
    lines = [f'curl -sS --fail-with-body "{url}"', '-H "Authorization: Bearer $API_KEY"']
    if body is not None:
        lines += ['-H "Content-Type: application/json"', f"-d '{json.dumps(body)}'"]
    if method not in ("GET", "POST"):
        lines.insert(1, f"-X {method}")
    return " \\\n  ".join(lines)


def javascript(method: str, url: str, body: Any) -> str:
    """A call by fetch."""
    headers = ['Authorization: `Bearer ${process.env.API_KEY ?? ""}`']
    options = []
    if body is not None:
        headers.append('"Content-Type": "application/json"')
        options = [f'method: "{method}"', f"body: JSON.stringify({json.dumps(body)})"]
    options.append(f"headers: {{ {', '.join(headers)} }}")
    inner = "".join(f"  {option},\n" for option in options)
    return (
        f'const response = await fetch("{url}", {{\n{inner}}});\n'
        "const answer = await response.json();\n"
        "if (!response.ok) throw new Error(`${answer.title}: ${answer.what_to_do}`);\n"
        "console.log(answer);"
    )


def php(method: str, url: str, body: Any) -> str:
    """A call by PHP's curl extension."""
    headers = ["'Authorization: Bearer ' . getenv('API_KEY')"]
    options = []
    if body is not None:
        headers.append("'Content-Type: application/json'")
        options = [f"    CURLOPT_POSTFIELDS => '{json.dumps(body)}',\n"]
    if method not in ("GET", "POST"):
        options.insert(0, f"    CURLOPT_CUSTOMREQUEST => '{method}',\n")
    return (
        "<?php\n"
        f"$call = curl_init('{url}');\n"
        "curl_setopt_array($call, [\n"
        f"    CURLOPT_HTTPHEADER => [{', '.join(headers)}],\n"
        f"{''.join(options)}"
        "    CURLOPT_RETURNTRANSFER => true,\n"
        "]);\n"
        "$answer = json_decode(curl_exec($call), true);\n"
        "if (curl_getinfo($call, CURLINFO_RESPONSE_CODE) >= 400) {\n"
        "    throw new RuntimeException($answer['title'] . ': ' . $answer['what_to_do']);\n"
        "}\n"
        "print_r($answer);"
    )


def java(method: str, url: str, body: Any) -> str:
    """A call by java.net.http."""
    lines = [
        f'HttpRequest request = HttpRequest.newBuilder(URI.create("{url}"))',
        '    .header("Authorization", "Bearer " + System.getenv("API_KEY"))',
    ]
    if body is not None:
        text = json.dumps(body).replace('"', '\\"')
        lines += [
            '    .header("Content-Type", "application/json")',
            f'    .{method}(HttpRequest.BodyPublishers.ofString("{text}"))',
        ]
    lines += [
        "    .build();",
        "HttpResponse<String> response = HttpClient.newHttpClient()",
        "    .send(request, HttpResponse.BodyHandlers.ofString());",
        "if (response.statusCode() >= 400) throw new RuntimeException(response.body());",
        "System.out.println(response.body());",
    ]
    return "\n".join(
        [
            "import java.net.URI;",
            "import java.net.http.*;",
            "",
            "class Call {",
            "    public static void main(String[] arguments) throws Exception {",
            *(f"        {line}" for line in lines),
            "    }",
            "}",
        ]
    )


def python(method: str, url: str, body: Any) -> str:
    """A call by urllib."""
    # As ruff formats it, which looks into pages too.
    lines = ["import json", "import os", "from urllib.request import Request, urlopen", ""]
    lines += [f'url = "{url}"', "headers = {"]
    lines.append('    "Authorization": "Bearer " + os.environ.get("API_KEY", ""),')
    data = "" if method in ("GET", "POST") else f', method="{method}"'
    if body is not None:
        lines.append('    "Content-Type": "application/json",')
        data = f", data=body{data}"
    lines.append("}")
    if body is not None:
        lines.append(f"body = b'{json.dumps(body)}'")
    lines += [
        f"with urlopen(Request(url{data}, headers=headers), timeout=10) as response:",
        "    answer = json.load(response)",
        "print(answer)",
    ]
    return "\n".join(lines)


LANGUAGES: dict[str, tuple[str, Callable[[str, str, Any], str]]] = {
    "curl": ("sh", curl),
    "JavaScript": ("js", javascript),
    "PHP": ("php", php),
    "Java": ("java", java),
    "Python": ("python", python),
}


def example_url(path: str, operation: dict[str, Any]) -> str:
    """The address of an operation, with the examples of its parameters."""
    query = {}
    for parameter in operation.get("parameters", ()):
        schema = parameter["schema"]
        [example, *_] = schema.get("examples") or [None]
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", quote(str(example), safe=""))
        elif example is not None:
            query[parameter["name"]] = example
    return BASE + path + (f"?{urlencode(query)}" if query else "")


def example_body(operation: dict[str, Any], schema: dict[str, Any]) -> Any:
    """The example of an operation's body; None where it has none."""
    if "requestBody" not in operation:
        return None
    ref = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    return schema["components"]["schemas"][ref.rpartition("/")[2]]["example"]


def page() -> Iterator[str]:
    """The parts of the page."""
    schema = make_api(PredictionService(Settings())).openapi()
    yield HEADER
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            if method == "delete":
                continue  # Nobody erases a user by a copied line.
            if not path.startswith("/v1/"):
                continue
            url, body = example_url(path, operation), example_body(operation, schema)
            yield f"## {method.upper()} {path}\n"
            yield operation["description"].partition("\n\n")[0] + "\n"
            for language, (mark, call) in LANGUAGES.items():
                yield f"{language}:\n\n```{mark}\n{call(method.upper(), url, body)}\n```\n"


if __name__ == "__main__":
    sys.stdout.write("\n".join(page()))
