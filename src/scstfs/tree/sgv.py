"""``sgv/``: statistics of the data buffers, in the form of SCST's scatter/gather vector caches.

There is one pool of buffers, shown as ``sgv``. The others, which the kernel has for each CPU, for
clustered memory and for DMA below 16 MB, are shown for programs that read them; they stay at zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from scstfs.core.buffers import MIN_SHIFT, BufferPool, PoolStatistics
from scstfs.core.scst import Scst
from scstfs.sysfs.attr import Attr, raw
from scstfs.sysfs.directory import DirType, Each
from scstfs.sysfs.values import anything

_FAMILIES: Final = ("sgv", "sgv-clust", "sgv-dma")


@dataclass(slots=True, eq=False)
class Pool:
    """One directory; *pool* is None for pools that are never used."""

    name: str
    pool: BufferPool | None = None
    idle: PoolStatistics = field(default_factory=PoolStatistics)

    @property
    def statistics(self) -> PoolStatistics:
        """The counters."""
        return self.idle if self.pool is None else self.pool.statistics


def pools(scst: Scst) -> dict[str, Pool]:
    """The pools of *scst* by name; made once, because a directory keeps its object."""
    return {pool.name: pool for pool in _pools(scst)}


def _pools(scst: Scst) -> Iterator[Pool]:
    for family in _FAMILIES:
        yield Pool(family, scst.env.buffers if family == scst.env.buffers.name else None)
        for cpu in range(scst.env.cpus):
            yield Pool(f"{family}-{cpu}")


def show(pool: Pool) -> str:
    """Contents of ``stats``.

    Nothing is ever merged, since buffers are contiguous; entries that are cached are idle.
    """
    rows, big = pool.statistics.classes, pool.statistics.big
    hits, total = sum(row.hits for row in rows), sum(row.total for row in rows)
    pages = 0 if pool.pool is None else pool.pool.cached_pages
    buffers = 0 if pool.pool is None else pool.pool.cached_buffers
    lines = [
        f"{'Name':<30} {'Hit':<11} {'Total':<11} {'% merged':<11} {'Cached (P/I/O)':<11}",
        f"{pool.name:<30} {hits:<11} {total:<11} {0:<11} {pages}/{pages}/{buffers}",
    ]
    for index, row in enumerate(rows):
        name = f"{pool.name}-{1 << (MIN_SHIFT + index - 10)}K"
        lines.append(f"  {name:<28} {row.hits:<11} {row.total:<11} 0")
    lines.append(f"  {'big/other':<40} {big}/{0:<9} 0/0")
    return "\n".join(lines) + "\n"


def _reset(pool: Pool, _value: None) -> None:
    pool.statistics.reset()


POOL: Final[DirType[Pool]] = DirType(
    "sgv pool",
    (
        Attr(
            name="stats",
            mode=0o644,
            show=show,
            render=raw,
            parse=anything,
            store=_reset,
            since="2.0",
            reads="allocations since the last reset and how many of them were served from what is "
            "kept for reuse, in all and for each size; pages, idle pages and buffers kept",
            accepts="anything",
            effect="the counters start from zero",
        ),
    ),
)


@dataclass(slots=True, eq=False)
class Sgv:
    """The directory's object: all pools."""

    pools: dict[str, Pool]


def _inactive_pages(sgv: Sgv) -> str:
    pages = sum(pool.pool.cached_pages for pool in sgv.pools.values() if pool.pool is not None)
    return f"{'Inactive pages':<42} {pages}"


def _ignore(_sgv: Sgv, _value: None) -> None:
    """More is counted in other builds of the kernel's SCST."""


SGV: Final[DirType[Sgv]] = DirType(
    "sgv",
    (
        Attr(
            name="global_stats",
            mode=0o644,
            show=_inactive_pages,
            parse=anything,
            store=_ignore,
            since="2.0",
            reads="pages (4096 bytes) that are kept for reuse",
            accepts="anything",
            effect="none: there is nothing to reset",
        ),
        Each(
            children=lambda sgv: sgv.pools,
            get=lambda sgv, name: sgv.pools.get(name),
            dirtype=POOL,
            label="POOL",
            about="a pool",
        ),
    ),
)
