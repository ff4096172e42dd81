"""What stores do in steps, done at once."""

from __future__ import annotations

from scstfs.handlers.store import Store
from scstfs.handlers.store_steps import run


def discard(store: Store, offset: int, length: int) -> None:
    run(store, store.discarding(offset, length))


def zero(store: Store, offset: int, length: int) -> None:
    run(store, store.zeroing(offset, length))


def zero_by_discard(store: Store, offset: int, length: int) -> None:
    run(store, store.zeroing_by_discard(offset, length))
