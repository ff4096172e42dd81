"""The fuzz targets without a fuzzer: the corpus, and mutations of it for a while.

SCSTFS_FUZZ_SECONDS sets the total time for all targets.  The mutations are the same every time: how
many of them are reached depends on the machine, but each is found again by seed and number, and a
failure shows the input itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from itertools import chain, islice
from pathlib import Path
from random import Random

import pytest

from fuzz import corpus, targets
from fuzz.mutations import mutations
from fuzz.targets import TARGETS

SEED = 7143
SECONDS = float(os.environ.get("SCSTFS_FUZZ_SECONDS", "50")) / len(TARGETS)


def fuzz_for(seconds: float, run: Callable[[bytes], None], inputs: Sequence[bytes]) -> int:
    """Run all inputs, and mutations until the time is over; returns how many were run."""
    end = time.monotonic() + seconds
    for count, data in enumerate(chain(inputs, mutations(inputs, Random(SEED)))):
        if count >= len(inputs) and time.monotonic() > end:
            return count
        try:
            run(data)
        except Exception as error:
            raise AssertionError(f"input {count} of seed {SEED}: {data.hex()}") from error
    raise AssertionError("mutations never end")


@pytest.mark.slow
@pytest.mark.timeout(60 + SECONDS)
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_breaks_the_invariant(target: str) -> None:
    inputs = corpus.load(target)
    count = fuzz_for(SECONDS, targets.load(target), inputs)
    print(f"{target}: {len(inputs)} inputs, {count - len(inputs)} mutations of seed {SEED}")
    assert inputs
    assert count >= len(inputs)


def test_what_breaks_is_shown() -> None:
    def breaks(data: bytes) -> None:
        if data.count(b"\xff") > 2:
            raise ValueError("too many")

    with pytest.raises(AssertionError, match=r"input \d+ of seed 7143: .*ff.*ff.*ff"):
        fuzz_for(60.0, breaks, [b"quite harmless", b"\xff"])


def test_an_input_of_the_corpus_is_run_before_any_other() -> None:
    ran: list[bytes] = []
    inputs = [b"a", b"b", b"c"]
    assert fuzz_for(0.0, ran.append, inputs) == len(inputs)
    assert ran[:3] == inputs


def test_mutations_differ_and_can_be_had_again() -> None:
    inputs = [b"some input", b"and another one"]
    first = list(islice(mutations(inputs, Random(1)), 200))
    assert first == list(islice(mutations(inputs, Random(1)), 200))
    assert len(set(first)) > 150
    assert all(len(data) <= 4096 for data in first)


def test_a_corpus_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "KEPT", tmp_path / "kept")
    assert corpus.load("login") == []
    corpus.save("login", [b"longer", b"\x00", b"longer", b"", bytes(corpus.LONGEST + 1)])
    assert corpus.load("login") == [b"\x00", b"longer"]
    corpus.unpack(corpus.load("login"), tmp_path / "unpacked")
    assert sorted(corpus.pack(tmp_path / "unpacked")) == [b"\x00", b"longer"]
