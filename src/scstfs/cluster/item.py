"""A shared item on this node: carries out what `next_step` decides."""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

import trio

from scstfs.cluster import record
from scstfs.cluster.etcd import Condition, Etcd, EtcdRefused, LeaseEnded, Put, Unreachable
from scstfs.cluster.etcd_keys import ItemName, Keys
from scstfs.cluster.next_step import NextStep, Situation, next_step
from scstfs.cluster.record import Record
from scstfs.cluster.replica import ItemView, Replica
from scstfs.core.fence import Fence
from scstfs.core.sharing import Agreed, NoAgreement, Unresolved
from scstfs.scsi import sense
from scstfs.scsi.sense import CheckCondition

log = logging.getLogger(__name__)

S = TypeVar("S")

#: Between two attempts while no member of etcd answers (seconds).
RETRY_SECONDS: Final = 0.1
#: … and while etcd refuses what this node asks for.
REFUSED_SECONDS: Final = 2.0
#: How long commands may take to end before a change; then the node leaves the item (seconds).
DRAIN_SECONDS: Final = 10.0
#: How long a change may wait while the node has no lease (seconds).
CHANGE_SECONDS: Final = 5.0
#: How long the news of an own change may take (seconds).
_NEWS_SECONDS: Final = 1.0


class Side(Protocol[S]):
    """What an item is on this node: a device, or a device group."""

    def close(self) -> None:
        """Start no command."""

    def open(self, fence: Fence) -> None:
        """Start commands, as long as ``fence`` is open."""

    def give_up(self) -> None:
        """Start no command, and execute none that has been started."""

    def expire(self) -> None:
        """End commands that have waited long enough."""

    def when_quiet(self, call: Callable[[], None]) -> None:
        """Call ``call`` when no command runs any more."""

    def state(self) -> S:
        """The state as it is here."""

    def is_same(self, state: S) -> bool:
        """Nothing would change if ``state`` were adopted."""

    def adopt(self, state: S, *, is_next: bool, is_mine: bool) -> None:
        """Take a state over; ``is_next``: one change lies between it and the one before."""

    def when_adopted(self, call: Callable[[], None]) -> None:
        """Call ``call`` when all that `adopt` has begun is over."""

    def after_power_on(self, state: S) -> S:
        """What is left of ``state`` when no node had power."""

    def without(self, state: S, gone: Collection[str]) -> S:
        """``state`` without what belongs to nodes that have gone."""

    def nodes_of(self, state: S) -> Collection[str]:
        """Nodes to which something in ``state`` belongs."""

    def encode(self, state: S) -> Mapping[str, Any]:
        """The content of a record."""

    def decode(self, content: Mapping[str, Any]) -> S:
        """The state that a record has; raises ValueError."""


class Surroundings(Protocol):
    """The node as its items see it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def etcd(self) -> Etcd:
        """The client."""

    @property
    def keys(self) -> Keys:
        """The keys of the cluster."""

    @property
    def replica(self) -> Replica:
        """What is known."""

    @property
    def lease(self) -> int | None:
        """The lease, while it is valid and the node may serve."""

    def issue_fence(self) -> Fence:
        """A new fence that is open until the lease ends."""

    def lose_lease(self) -> None:
        """The lease has ended."""

    async def learn(self, revision: int, seconds: float) -> None:
        """Wait until changes up to ``revision`` are known, or for some time."""


@dataclass(eq=False, slots=True)
class WantedChange(Generic[S]):
    """A change that is wanted."""

    compute: Callable[[], S]
    done: Agreed
    since: float = field(default_factory=time.monotonic)
    is_answered: bool = False

    def answer(self, error: Exception | None) -> None:
        """Call ``done``, once."""
        if not self.is_answered:
            self.is_answered = True
            self.done(error)


@dataclass(frozen=True, eq=False, slots=True)
class Proposal(Generic[S]):
    """A change that was computed from the record ``base`` at ``revision``."""

    wanted: WantedChange[S]
    revision: int
    base: str
    record: Record


class SharedItem(Generic[S]):
    """See the module's text; `core.sharing.Agreement` for its ``side``."""

    def __init__(self, name: ItemName) -> None:
        """Its ``side`` must be set before it is used."""
        self.name: Final = name
        self._attached: Surroundings | None = None
        self._wanted: deque[WantedChange[S]] = deque()
        self._proposal: Proposal[S] | None = None
        self._committed: WantedChange[S] | None = None
        self._adopted: str | None = None
        #: It has not served the item since it was started.
        self._is_fresh = True
        self._is_open = False
        #: Open, apart from changes.
        self._was_open = False
        self._told = ""
        self._more = trio.Event()
        self.side: Side[S]

    @property
    def _node(self) -> Surroundings:
        assert self._attached is not None
        return self._attached

    def attach(self, node: Surroundings) -> None:
        """Serve it in the cluster of ``node``."""
        self._attached = node
        self._adopted = None
        self._is_fresh = True

    def detach(self) -> None:
        """Serve it in no cluster."""
        self.close()
        self.fail()
        self._attached = None

    # What the core wants

    def change(self, compute: Callable[[], S], done: Agreed) -> None:
        """See `core.sharing.Agreement`."""
        self._is_open = False
        self._wanted.append(WantedChange(compute, done))
        self.wake()

    # What happens around it

    def wake(self) -> None:
        """Something is known that was not."""
        self._more.set()

    def close(self) -> None:
        """The lease has ended: start no command."""
        if self._was_open:
            self._was_open = False
            log.info("%s is closed", self.name)
        self._is_open = False
        self.side.close()
        self.wake()

    def expire(self) -> None:
        """Answer what has waited too long, while there is no lease."""
        self.side.expire()
        if self._attached is not None and self._attached.lease is not None:
            return
        oldest = time.monotonic() - CHANGE_SECONDS
        while self._wanted and self._wanted[0].since < oldest:
            self._wanted.popleft().answer(NoAgreement())
        sent = (self._proposal.wanted if self._proposal else None, self._committed)
        for wanted in sent:
            if wanted is not None and wanted.since < oldest:
                wanted.answer(Unresolved())

    def fail(self) -> None:
        """The item is not shared any more: no change that is wanted is made."""
        for wanted in self._wanted:
            wanted.answer(NoAgreement())
        if self._proposal is not None:
            self._proposal.wanted.answer(Unresolved())
        if self._committed is not None:
            self._committed.answer(None)
        self._wanted.clear()
        self._proposal = self._committed = None

    @property
    def is_open(self) -> bool:
        """Commands are executed."""
        return self._is_open

    @property
    def shared(self) -> ItemView:
        """What is known of it."""
        return self._node.replica.item(self.name)

    # Steps

    async def run(self) -> None:
        """Do one step after the other, until cancelled."""
        steps = {
            NextStep.CREATE: self._create,
            NextStep.ADOPT: self._adopt,
            NextStep.JOIN: self._join,
            NextStep.ACKNOWLEDGE: self._acknowledge,
            NextStep.CONFIRM: self._confirm,
            NextStep.PROPOSE: self._propose,
            NextStep.COMPUTE: self._compute,
            NextStep.OPEN: self._open,
        }
        while True:
            self._more = trio.Event()
            step = self._next_step()
            try:
                if step is NextStep.WAIT:
                    await self._more.wait()
                else:
                    await steps[step]()
            except LeaseEnded:
                self._node.lose_lease()
            except EtcdRefused as error:
                log.error("%s: etcd refuses: %s", self.name, error)
                await trio.sleep(REFUSED_SECONDS)
            except Unreachable as error:
                log.debug("%s: %s: %s", self.name, step.name, error)
                await trio.sleep(RETRY_SECONDS)

    def _next_step(self) -> NextStep:
        node, item = self._node, self.shared
        if item.problem != self._told:
            self._told = item.problem
            if item.problem:
                log.error("%s cannot be served: %s", self.name, item.problem)
        if not node.replica.is_complete:
            return NextStep.WAIT
        self._clean_up(item)
        return next_step(
            item,
            Situation(
                node.name,
                node.lease,
                self._adopted,
                proposed_at=None if self._proposal is None else self._proposal.revision,
                is_committed=self._committed is not None,
                is_wanted=bool(self._wanted),
                is_open=self._is_open,
            ),
        )

    def _clean_up(self, item: ItemView) -> None:
        """Want a change if something belongs to a node that does not serve the item any more."""
        if not self._is_open or item.record is None or not item.is_settled:
            return
        gone = set(self.side.nodes_of(self.side.state())) - item.users.keys()
        if gone:
            side = self.side
            self.change(lambda: side.without(side.state(), gone), lambda _error: None)

    async def _create(self) -> None:
        if self._proposal is not None:
            self._proposal.wanted.answer(Unresolved())
            self._proposal = None
        node = self._node
        content = self.side.encode(self.side.state())
        created = Record(uuid.uuid4().hex, node.name, content)
        await self._enter(created, [Put(node.keys.item(self.name), record.encode(created))])

    async def _adopt(self) -> None:
        self._is_open = False
        self.side.close()
        await self._drain()
        # Other changes may have come meanwhile.
        current = self.shared.record
        if current is None or current.change == self._adopted:
            return
        try:
            state = self.side.decode(current.content)
        except ValueError as error:
            self.shared.problem = str(error)
            return
        proposal, self._proposal = self._proposal, None
        is_mine = False
        if proposal is not None:
            self._resolve(proposal, current)
            is_mine = proposal.record.change == current.change
            if proposal.record.change in current.history:
                # This node has said with its change that it has taken it over, so that another one
                # could follow at once.
                own = self.side.decode(proposal.record.content)
                self.side.adopt(own, is_next=True, is_mine=True)
                self._adopted = proposal.record.change
        is_next = current.is_next_to(self._adopted)
        self.side.adopt(state, is_next=is_next, is_mine=is_mine)
        adopted = trio.Event()
        self.side.when_adopted(adopted.set)
        await adopted.wait()
        self._adopted = current.change
        if self._committed is not None and self._committed.is_answered:
            self._committed = None

    def _resolve(self, proposal: Proposal[S], current: Record) -> None:
        """Find out what has become of a proposal when there is a newer state."""
        made = (current.change, *current.history)
        if proposal.record.change in made:
            self._committed = proposal.wanted
        elif proposal.base in made:
            # Another node was faster.
            self._wanted.appendleft(proposal.wanted)
        else:
            proposal.wanted.answer(Unresolved())

    async def _drain(self) -> None:
        """Wait until no command runs.

        A node whose disk hangs must not stop the others: after some time it leaves.
        """
        quiet = trio.Event()
        self.side.when_quiet(quiet.set)
        with trio.move_on_after(DRAIN_SECONDS):
            await quiet.wait()
            return
        self.side.give_up()
        log.error(
            "%s: commands have not ended for %d s; other nodes go on without this one",
            self.name,
            DRAIN_SECONDS,
        )
        await self._forget_user()
        await quiet.wait()

    async def _forget_user(self) -> None:
        key = self._node.keys.user(self.name, self._node.name)
        while self._node.lease is not None:
            try:
                await self._node.etcd.transact((), deletes=[key])
            except Unreachable:
                await trio.sleep(RETRY_SECONDS)
            else:
                return

    async def _join(self) -> None:
        node, item = self._node, self.shared
        current = item.record
        assert current is not None
        others = (item.users.keys() | item.served) - {node.name}
        if self._is_fresh and not others:
            state = self.side.after_power_on(self.side.state())
            if not self.side.is_same(state):
                change = uuid.uuid4().hex
                following = current.followed_by(change, node.name, self.side.encode(state))
                await self._enter(
                    following, [Put(node.keys.item(self.name), record.encode(following))]
                )
                return
        await self._enter(current, [])

    async def _enter(self, entered: Record, puts: list[Put]) -> None:
        """Say that this node serves the item, if its key has not changed."""
        node, revision = self._node, self.shared.revision
        if node.lease is None:
            raise LeaseEnded
        puts.append(Put(node.keys.user(self.name, node.name), entered.change, node.lease))
        puts.append(Put(node.keys.served(self.name, node.name), node.name))
        outcome = await node.etcd.transact([Condition(node.keys.item(self.name), revision)], puts)
        if outcome.succeeded:
            if self._adopted is None:
                self._adopted = entered.change
            self._is_fresh = False
        await node.learn(outcome.revision, _NEWS_SECONDS)

    async def _acknowledge(self) -> None:
        node = self._node
        if node.lease is None or self._adopted is None:
            raise LeaseEnded
        key = node.keys.user(self.name, node.name)
        at = Condition(node.keys.item(self.name), self.shared.revision)
        outcome = await node.etcd.transact([at], [Put(key, self._adopted, node.lease)])
        await node.learn(outcome.revision, _NEWS_SECONDS)

    async def _confirm(self) -> None:
        committed, self._committed = self._committed, None
        if committed is not None:
            committed.answer(None)

    async def _compute(self) -> None:
        # This node says with the proposal that it has taken it over, so nothing may run.
        self.side.close()
        await self._drain()
        current = self.shared.record
        if self._next_step() is not NextStep.COMPUTE or current is None:
            return
        wanted = self._wanted.popleft()
        try:
            state = wanted.compute()
        except Exception as error:
            wanted.answer(error)
            return
        if self.side.is_same(state):
            wanted.answer(None)
            return
        content = self.side.encode(state)
        following = current.followed_by(uuid.uuid4().hex, self._node.name, content)
        self._proposal = Proposal(wanted, self.shared.revision, current.change, following)

    async def _propose(self) -> None:
        node, proposal = self._node, self._proposal
        if node.lease is None or proposal is None:
            raise LeaseEnded
        made = proposal.record
        at = Condition(node.keys.item(self.name), proposal.revision)
        puts = [
            Put(node.keys.item(self.name), record.encode(made)),
            Put(node.keys.user(self.name, node.name), made.change, node.lease),
        ]
        try:
            outcome = await node.etcd.transact([at], puts)
        except EtcdRefused as error:
            log.error("%s: etcd refuses a change: %s", self.name, error)
            self._proposal = None
            proposal.wanted.answer(CheckCondition(sense.INSUFFICIENT_REGISTRATION_RESOURCES))
            return
        await node.learn(outcome.revision, _NEWS_SECONDS)

    async def _open(self) -> None:
        if not self._was_open:
            self._was_open = True
            log.info("%s is open", self.name)
        self._is_open = True
        self.side.open(self._node.issue_fence())
