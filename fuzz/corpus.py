"""The inputs that the tests run: for each target a file of lines, each an input in hexadecimal."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

KEPT: Final = Path(__file__).parents[1] / "tests" / "data" / "fuzz"
LONGEST: Final = 1024
"""Most bytes of an input that is kept: fuzzing finds again what only longer ones reach."""


def load(target: str) -> list[bytes]:
    """The inputs kept for a target; none if nothing has been kept."""
    path = _file(target)
    return [bytes.fromhex(line) for line in path.read_text().split()] if path.exists() else []


def save(target: str, inputs: Iterable[bytes]) -> None:
    """Keep exactly these, except for very long ones; the shortest come first."""
    kept = {data.hex() for data in inputs if 0 < len(data) <= LONGEST}
    lines = sorted(kept, key=lambda line: (len(line), line))
    KEPT.mkdir(parents=True, exist_ok=True)
    _file(target).write_text("".join(f"{line}\n" for line in lines))


def unpack(inputs: Iterable[bytes], directory: Path) -> None:
    """Write each input to its own file, named as by libFuzzer."""
    directory.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        name = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        (directory / name).write_bytes(data)


def pack(directory: Path) -> list[bytes]:
    """The inputs in the files of a directory."""
    return [path.read_bytes() for path in sorted(directory.iterdir())]


def _file(target: str) -> Path:
    return KEPT / f"{target}.txt"
