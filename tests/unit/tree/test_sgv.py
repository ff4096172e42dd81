from __future__ import annotations

from tests.support.whole import Whole


async def test_there_are_pools_for_each_cpu(everything: Whole) -> None:
    assert everything.names("sgv") == [
        "global_stats",
        "sgv",
        "sgv-0",
        "sgv-1",
        "sgv-clust",
        "sgv-clust-0",
        "sgv-clust-1",
        "sgv-dma",
        "sgv-dma-0",
        "sgv-dma-1",
    ]


async def test_allocations_are_counted_until_the_reset(everything: Whole) -> None:
    buffers = everything.scst.env.buffers
    untouched = everything.read("sgv/sgv/stats")
    buffers.get(4096).release()
    buffers.get(4096).release()
    lines = everything.read("sgv/sgv/stats").splitlines()
    assert lines[0].split() == ["Name", "Hit", "Total", "%", "merged", "Cached", "(P/I/O)"]
    assert lines[1].split() == ["sgv", "1", "2", "0", "1/1/1"]
    assert ["sgv-4K", "1", "2", "0"] in [line.split() for line in lines]
    assert lines[-1].split() == ["big/other", "0/0", "0/0"]
    assert everything.read("sgv/global_stats").split() == ["Inactive", "pages", "1"]
    await everything.write("sgv/sgv/stats", "anything\n")
    reset = everything.read("sgv/sgv/stats")
    assert reset.splitlines()[1].split() == ["sgv", "0", "0", "0", "1/1/1"]
    assert reset.splitlines()[2:] == untouched.splitlines()[2:]


async def test_pools_that_do_not_exist_here_stay_at_zero(everything: Whole) -> None:
    everything.scst.env.buffers.get(1 << 16).release()
    text = everything.read("sgv/sgv-dma-1/stats")
    assert text.splitlines()[1].split() == ["sgv-dma-1", "0", "0", "0", "0/0/0"]
