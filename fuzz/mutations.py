"""Mutations of inputs: for the tests, besides the corpus, without atheris."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final

_LONGEST: Final = 4096
_ODD_BYTES: Final = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)
_MOST_CHANGES: Final = 6


def mutations(inputs: Sequence[bytes], random: Random) -> Iterator[bytes]:
    """Yield for ever: one of *inputs*, changed in one to six places."""
    while True:
        data = bytearray(random.choice(inputs))
        for _ in range(random.randint(1, _MOST_CHANGES)):
            random.choice(_CHANGES)(data, inputs, random)
        yield bytes(data[:_LONGEST])


def _piece(length: int, random: Random) -> slice:
    start = random.randint(0, length)
    return slice(start, min(length, start + random.randint(1, 32)))


def _flip(data: bytearray, _: Sequence[bytes], random: Random) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _replace(data: bytearray, _: Sequence[bytes], random: Random) -> None:
    if data:
        byte = random.choice(_ODD_BYTES) if random.random() < 0.5 else random.randrange(256)
        data[random.randrange(len(data))] = byte


def _insert(data: bytearray, _: Sequence[bytes], random: Random) -> None:
    at = random.randint(0, len(data))
    data[at:at] = random.randbytes(random.randint(1, 16))


def _delete(data: bytearray, _: Sequence[bytes], random: Random) -> None:
    del data[_piece(len(data), random)]


def _repeat(data: bytearray, _: Sequence[bytes], random: Random) -> None:
    at = random.randint(0, len(data))
    data[at:at] = data[_piece(len(data), random)] * random.randint(1, 4)


def _splice(data: bytearray, inputs: Sequence[bytes], random: Random) -> None:
    """Continue with the end of another input."""
    other = random.choice(inputs)
    data[random.randint(0, len(data)) :] = other[random.randint(0, len(other)) :]


_CHANGES: Final[tuple[Callable[[bytearray, Sequence[bytes], Random], None], ...]] = (
    _flip,
    _replace,
    _insert,
    _delete,
    _repeat,
    _splice,
)
