"""The registry: look-ups, and the numbers of target ports."""

from __future__ import annotations

import pytest

from scstfs.core.scst import registry_of
from scstfs.core.target import Target
from tests.support.target import System


def add_target(system: System, name: str, rel_tgt_id: int = 0) -> Target:
    target = system.driver.targets[name] = Target(system.driver, name, cpus=1)
    target.rel_tgt_id = rel_tgt_id
    return target


async def test_targets_and_sessions_of_all_drivers_are_found(system: System) -> None:
    other = add_target(system, "other")
    one, two = system.initiator("one"), system.initiator("two", other.default_acg)
    assert list(system.scst.targets()) == [system.target, other]
    assert list(system.scst.sessions()) == [one.session, two.session]
    assert system.scst.find_target("other") is other
    assert system.scst.find_target("none") is None
    assert registry_of(other) is system.scst


async def test_numbers_of_targets_count_up_and_pass_those_in_use(system: System) -> None:
    add_target(system, "two", 2)
    assert [system.scst.next_rel_tgt_id() for _ in range(3)] == [1, 3, 4]


async def test_behind_the_last_number_they_begin_anew(system: System) -> None:
    system.scst._next_rel_tgt_id = 0xFFFF
    add_target(system, "one", 1)
    assert [system.scst.next_rel_tgt_id() for _ in range(2)] == [0xFFFF, 2]


async def test_a_number_is_free_that_no_other_active_target_has(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = add_target(system, "one", 7)
    scst = system.scst
    assert (scst.rel_tgt_id_is_free(8), scst.rel_tgt_id_is_free(7)) == (True, False)
    assert scst.rel_tgt_id_is_free(7, for_target=one)
    assert not scst.rel_tgt_id_is_free(7, for_target=system.target)
    monkeypatch.setattr(Target, "is_active", False)
    assert scst.rel_tgt_id_is_free(7)


async def test_all_numbers_may_be_in_use(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def is_free(number: int, *, for_target: Target | None = None) -> bool:
        asked.append(number)
        return False

    monkeypatch.setattr(system.scst, "rel_tgt_id_is_free", is_free)
    with pytest.raises(OverflowError):
        system.scst.next_rel_tgt_id()
    assert sorted(asked) == list(range(1, 0x10000))
