from __future__ import annotations

from typing import Any

import pytest

from scstfs.observable import Observable, ObservableDict


@pytest.fixture
def told() -> list[object]:
    return []


@pytest.fixture
def numbers(told: list[object]) -> ObservableDict[str, Any]:
    numbers: ObservableDict[str, Any] = ObservableDict(one=1, two=2)
    numbers.observe(lambda key: told.append((key, numbers.get(key))))
    return numbers


def test_what_comes_goes_or_is_replaced_is_told_afterwards(
    numbers: ObservableDict[str, Any], told: list[object]
) -> None:
    numbers["three"] = 3
    numbers["two"] = 4
    del numbers["one"]
    assert numbers.pop("two") == 4
    assert numbers.popitem() == ("three", 3)
    assert numbers.setdefault("four", 4) == numbers.setdefault("four", 5) == 4
    numbers.update({"five": 5}, six=6)
    numbers.clear()
    assert told == [
        ("three", 3),
        ("two", 4),
        ("one", None),
        ("two", None),
        ("three", None),
        ("four", 4),
        ("five", 5),
        ("six", 6),
        ("four", None),
        ("five", None),
        ("six", None),
    ]
    assert numbers == {}


def test_what_changes_nothing_is_not_told(
    numbers: ObservableDict[str, Any], told: list[object]
) -> None:
    numbers["one"] = numbers["one"]
    assert numbers.pop("none", 7) == 7
    with pytest.raises(KeyError):
        del numbers["none"]
    assert told == []


def test_every_way_of_changing_a_dict_is_covered(
    numbers: ObservableDict[str, Any], told: list[object]
) -> None:
    changing = {"__setitem__", "__delitem__", "pop", "popitem", "setdefault", "clear", "update"}
    assert changing | {"__ior__"} <= set(vars(ObservableDict))
    numbers |= {"three": 3}
    assert told == [("three", 3)]


def test_who_ignores_hears_nothing_more() -> None:
    signal, told = Observable(), list[Any]()
    signal.observe(told.append)
    signal.changed()
    signal.ignore(told.append)
    signal.changed()
    assert told == [None]
