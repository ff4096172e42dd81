"""What a node does next, and that nodes that do so agree: a whole cluster in one table."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scstfs.cluster.next_step import NextStep, Situation, next_step
from scstfs.cluster.record import Record
from scstfs.cluster.replica import ItemView, Serving

LEASE = 7


def view(change: str, **users: tuple[str, int]) -> ItemView:
    return ItemView(
        5, Record(change, "n", {}), users={name: Serving(*user) for name, user in users.items()}
    )


def own(adopted: str | None, **others: object) -> Situation:
    return Situation("me", LEASE, adopted, **others)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("item", "situation", "step"),
    [
        (ItemView(), own(None), NextStep.CREATE),
        (ItemView(), Situation("me", None, None), NextStep.WAIT),
        (ItemView(5, None, "format 9"), own(None), NextStep.WAIT),
        (view("a"), own(None), NextStep.ADOPT),
        (view("a"), own("a"), NextStep.JOIN),
        # The key is of an earlier lease: etcd will delete it.
        (view("a", me=("a", 6)), own("a"), NextStep.JOIN),
        (view("b", me=("a", LEASE)), own("a"), NextStep.ADOPT),
        (view("b", me=("a", LEASE)), own("b"), NextStep.ACKNOWLEDGE),
        (view("b", me=("b", LEASE), other=("a", 9)), own("b", is_wanted=True), NextStep.WAIT),
        (view("b", me=("b", LEASE), other=("b", 9)), own("b"), NextStep.OPEN),
        (view("b", me=("b", LEASE)), own("b", is_committed=True), NextStep.CONFIRM),
        (view("b", me=("b", LEASE)), own("b", proposed_at=5), NextStep.PROPOSE),
        (view("b", me=("b", LEASE)), own("b", is_wanted=True), NextStep.COMPUTE),
        (view("b", me=("b", LEASE)), own("b", is_open=True), NextStep.WAIT),
    ],
)
def test_steps(item: ItemView, situation: Situation, step: NextStep) -> None:
    assert next_step(item, situation) is step


class Etcd:
    """The keys of one item, and all that was ever put."""

    def __init__(self) -> None:
        self.revision = 0
        self.changes: list[str] = []
        self.log: list[tuple[str, str, str | None]] = []

    def put_item(self, at: int, change: str, node: str) -> None:
        if at == self.revision:
            self.revision += 1
            self.changes.append(change)
            self.log += [("item", change, None), ("user", node, change)]

    def put_user(self, at: int, node: str, change: str) -> None:
        if at == self.revision:
            self.log.append(("user", node, change))


class ModelNode:
    """A node that sees the log of etcd up to some point."""

    def __init__(self, name: str, etcd: Etcd) -> None:
        self.name = name
        self.etcd = etcd
        self.seen = 0
        self.item = ItemView()
        self.adopted: str | None = None
        self.proposal: tuple[int, str] | None = None
        self.is_committed = self.is_open = False
        self.wanted = 0
        self.answered: list[str] = []
        self._numbers = itertools.count()

    def look(self) -> None:
        """See one more entry of the log."""
        if self.seen < len(self.etcd.log):
            kind, name, change = self.etcd.log[self.seen]
            self.seen += 1
            if kind == "item":
                before = self.item.record
                record = (
                    Record(name, "n", {}) if before is None else before.followed_by(name, "n", {})
                )
                self.item.record, self.item.revision = record, self.item.revision + 1
            else:
                self.item.users[name] = Serving(change or "", LEASE)

    def step(self) -> None:
        """Do what comes next."""
        etcd, record = self.etcd, self.item.record
        situation = Situation(
            self.name,
            LEASE,
            self.adopted,
            proposed_at=None if self.proposal is None else self.proposal[0],
            is_committed=self.is_committed,
            is_wanted=self.wanted > 0,
            is_open=self.is_open,
        )
        match next_step(self.item, situation):
            case NextStep.CREATE:
                etcd.put_item(0, f"{self.name}-created", self.name)
            case NextStep.ADOPT:
                assert record is not None
                self.is_open = False
                before = self.adopted
                if self.proposal is not None:
                    own, self.proposal = self.proposal[1], None
                    if own in (record.change, *record.history):
                        self.is_committed = True
                        before = own
                    else:
                        self.wanted += 1
                # A node that serves the item is at most one change behind, besides its own.
                if self.name in self.item.users and before not in (None, record.change):
                    assert record.is_next_to(before)
                self.adopted = record.change
            case NextStep.JOIN | NextStep.ACKNOWLEDGE:
                assert self.adopted is not None
                etcd.put_user(self.item.revision, self.name, self.adopted)
            case NextStep.CONFIRM:
                assert self.adopted is not None
                self.is_committed = False
                self.answered.append(self.adopted)
            case NextStep.PROPOSE:
                assert self.proposal is not None
                etcd.put_item(*self.proposal, self.name)
            case NextStep.COMPUTE:
                self.wanted -= 1
                self.is_open = False
                self.proposal = self.item.revision, f"{self.name}-{next(self._numbers)}"
            case NextStep.OPEN:
                self.is_open = True


@settings(deadline=None)
@given(st.data())
def test_nodes_that_are_open_have_the_same_state(data: st.DataObject) -> None:
    etcd = Etcd()
    nodes = [ModelNode(name, etcd) for name in "abc"]
    for _ in range(data.draw(st.integers(20, 120))):
        node = data.draw(st.sampled_from(nodes))
        match data.draw(st.sampled_from(["look", "look", "step", "step", "want"])):
            case "look":
                node.look()
            case "step":
                node.step()
            case "want" if node.wanted < 2:
                node.wanted += 1
                node.is_open = False
        assert len({node.adopted for node in nodes if node.is_open}) <= 1
        for answered in nodes:
            # Whoever is open has every change that was answered.
            for change in answered.answered:
                for other in nodes:
                    if other.is_open and other.adopted is not None:
                        done = etcd.changes.index(other.adopted)
                        assert done >= etcd.changes.index(change)
    for _ in range(400):
        for node in nodes:
            node.look()
            node.step()
    assert all(node.is_open and not node.wanted for node in nodes)
    assert len({node.adopted for node in nodes}) == 1
