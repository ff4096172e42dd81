from __future__ import annotations

import pytest

from scstfs.scsi.unit import ThinLimits


@pytest.mark.parametrize(("block_size", "blocks"), [(512, 0x80000), (4096, 0x10000)])
def test_a_file_is_unmapped_256_mebibytes_at_a_time(block_size: int, blocks: int) -> None:
    assert ThinLimits.of_file(block_size) == ThinLimits(blocks, granularity=1, alignment=0)
