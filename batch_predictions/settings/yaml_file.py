"""Reads a settings file as strict YAML: what it says is said once, and means what it looks like."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic_settings import YamlConfigSettingsSource

MAX_VALUES = 100_000
"""Values that a file may have, where every alias counts as all that it stands for."""
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|0b[01_]+)")
_DECIMAL = re.compile(
    r"[-+]?(?:[0-9][0-9_]*)?\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_RESOLVERS = {
    "tag:yaml.org,2002:int": (_INTEGER, "-+0123456789."),
    "tag:yaml.org,2002:float": (_DECIMAL, "-+0123456789."),
    "tag:yaml.org,2002:bool": (_BOOLEAN, "tTfF"),
}


class StrictLoader(yaml.SafeLoader):
    """YAML without repeated keys, without aliases that multiply, and with times as text.

    YAML 1.1 reads `12:30:45` as 45,045, `010` as 8 and Norway's code `NO` as false; here they are
    text, as in YAML 1.2.
    """

    def get_single_node(self) -> yaml.Node | None:
        """Reads the document, unless its aliases multiply to too many values.

        Raises:
            yaml.YAMLError: it has more values than `MAX_VALUES`, its aliases resolved.
        """
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _count_values(node, {})
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Constructs a mapping, unless a key is there twice.

        Raises:
            yaml.YAMLError: a key is there twice.
        """
        keys: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in keys:
                    raise yaml.constructor.ConstructorError(
                        None, None, "the key stands twice in a mapping", key.start_mark
                    )
                keys.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _RESOLVERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, (_pattern, _first) in _RESOLVERS.items():
    StrictLoader.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern.pattern})\\Z"), list(_first))


def _count_values(node: yaml.Node, counts: dict[int, int]) -> int:
    """The values of a node, its aliases resolved; `counts` has those of nodes that were counted."""
    if id(node) not in counts:
        counts[id(node)] = MAX_VALUES + 1  # Where it contains itself.
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            inner = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            inner = node.value
        counts[id(node)] = 1 + sum(_count_values(part, counts) for part in inner)
    if counts[id(node)] > MAX_VALUES:
        raise yaml.constructor.ConstructorError(
            None, None, f"it has more than {MAX_VALUES:,} values", node.start_mark
        )
    return counts[id(node)]


class StrictYamlSource(YamlConfigSettingsSource):
    """pydantic's settings of a YAML file, read by `StrictLoader`."""

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        text = Path(file_path).read_text(encoding="utf-8")
        loader = StrictLoader(text)
        loader.name = str(file_path)
        try:
            return loader.get_single_data() or {}
        except RecursionError:
            raise yaml.YAMLError("its values are nested too deeply") from None
        finally:
            loader.dispose()
