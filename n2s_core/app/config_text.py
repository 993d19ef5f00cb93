"""The text of a configuration that `init` writes."""

import json
from collections.abc import Mapping


def to_toml(tables: Mapping[str, Mapping[str, object]]) -> str:
    """The text of a configuration: strings, numbers, booleans, lists, tables, lists of tables."""
    lines = ["# Written by 'n2s init'; docs/configuration.md explains every key."]
    for name, table in tables.items():
        lines += ["", f"[{name}]"]
        nested = []
        for key, value in table.items():
            if isinstance(value, Mapping):
                nested.append((f"[{name}.{key}]", value))
            elif isinstance(value, list) and value and isinstance(value[0], Mapping):
                nested.extend((f"[[{name}.{key}]]", one) for one in value)
            else:
                lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
        for heading, inner in nested:
            lines += ["", heading]
            lines += [
                f"{json.dumps(one)} = {json.dumps(what, ensure_ascii=False)}"
                for one, what in inner.items()
            ]
    return "\n".join(lines) + "\n"
