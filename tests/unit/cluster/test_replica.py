"""What a node knows of the keys in etcd."""

from __future__ import annotations

import json

from scstfs.cluster import record
from scstfs.cluster.etcd_keys import UNIT, ItemName, Keys
from scstfs.cluster.record import Record
from scstfs.cluster.replica import ClusterPort, KeyValue, Replica, Serving, member_text, port_text

KEYS = Keys("my/cluster")
NAME = ItemName(UNIT, "disk/1")


def test_names_with_slashes_are_names() -> None:
    assert KEYS.split(KEYS.user(NAME, "a/b")) == ("user", "lu", "disk/1", "a/b")
    assert KEYS.item_of(KEYS.item(NAME)) == NAME
    assert KEYS.item_of(KEYS.served(NAME, "n")) == NAME
    assert KEYS.item_of(KEYS.member("n")) is None


def test_keys_come_and_go() -> None:
    replica = Replica(KEYS)
    made = Record("c1", "a", {"x": 1})
    replica.load([KeyValue(KEYS.item(NAME), record.encode(made), 4)], 9)
    item = replica.item(NAME)
    assert (item.record, item.revision, replica.revision) == (made, 4, 9)
    replica.apply(KeyValue(KEYS.user(NAME, "a"), "c1", 10, lease=3))
    assert item.users == {"a": Serving("c1", 3)}
    assert item.is_settled
    replica.apply(KeyValue(KEYS.user(NAME, "b"), "c0", 11, lease=4))
    assert not item.is_settled
    replica.apply(KeyValue(KEYS.user(NAME, "b"), None, 12))
    assert item.is_settled
    replica.apply(KeyValue(KEYS.member("a"), member_text("i", "1.0"), 13, lease=3))
    assert replica.members["a"].lease == 3
    replica.apply(KeyValue(KEYS.port(2), port_text(ClusterPort("a", "iqn", 5)), 14))
    assert replica.ports == {2: ClusterPort("a", "iqn", 5)}


def test_what_has_gone_while_nobody_looked_is_gone() -> None:
    replica = Replica(KEYS)
    replica.load([KeyValue(KEYS.user(NAME, "a"), "c", 4), KeyValue(KEYS.port(1), "{}", 5)], 9)
    replica.load([KeyValue(KEYS.port(1), "{}", 5)], 12)
    assert replica.item(NAME).users == {}
    assert replica.present == {KEYS.port(1): 5}


def test_a_record_of_a_newer_release_is_a_problem() -> None:
    replica = Replica(KEYS)
    text = json.dumps({"format": 2, "anything": "else"})
    replica.apply(KeyValue(KEYS.item(NAME), text, 4))
    assert "format 2" in replica.item(NAME).problem
    replica.apply(KeyValue(KEYS.item(NAME), "no JSON", 5))
    assert replica.item(NAME).problem
    replica.apply(KeyValue(KEYS.item(NAME), record.encode(Record("c", "a", {})), 6))
    assert not replica.item(NAME).problem


def test_a_record_remembers_changes_but_not_for_ever() -> None:
    made = Record("0", "a", {})
    for number in range(1, 100):
        made = made.followed_by(str(number), "a", {})
    assert made.history[:2] == ("98", "97")
    assert len(made.history) == 32
    assert made.is_next_to("98")
    assert not made.is_next_to("97")
    assert record.decode(record.encode(made)) == made
