"""The output of -dumpAttrs, in the notation of Perl's Data::Dumper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from scstfs.admin.attributes import Attribute, Attributes

DumpValue: TypeAlias = int | str | Sequence["DumpValue"] | Mapping[str, "DumpValue"] | None


def dumped(attributes: Attributes) -> str:
    """Attributes as the first of two variables; the second is an undefined error."""
    data = {name: _data(attributes[name]) for name in sorted(attributes)}
    return f"$VAR1 = {_text(data, 8)};\n$VAR2 = undef;\n"


def _data(attribute: Attribute) -> DumpValue:
    data: dict[str, DumpValue] = {"static": int(attribute.static)}
    if attribute.choices is not None:
        data["set"] = attribute.choices
    if attribute.is_key:
        data["keys"] = {number: {"value": value} for number, value in attribute.keys.items()}
    else:
        data["value"] = attribute.value
    return data


def _text(data: DumpValue, indent: int) -> str:
    """*indent*: the column in which it begins."""
    if data is None:
        return "undef"
    if isinstance(data, int):
        return str(data)
    if isinstance(data, str):
        return "'" + data.replace("\\", "\\\\").replace("'", "\\'") + "'"
    margin = " " * (indent + 2)
    if isinstance(data, Mapping):
        rows = []
        for key, value in data.items():
            head = f"'{key}' => "
            rows.append(f"{margin}{head}{_text(value, indent + 2 + len(head))}")
        opens, closes = "{}"
    else:
        rows = [margin + _text(value, indent + 2) for value in data]
        opens, closes = "[]"
    return f"{opens}\n" + ",\n".join(rows) + f"\n{' ' * indent}{closes}"
