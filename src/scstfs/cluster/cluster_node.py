"""This node in one cluster: its lease, what it knows, and the items that it serves."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Final

import trio

from scstfs import __version__
from scstfs.cluster import replica as replicas
from scstfs.cluster.etcd import (
    Compacted,
    Condition,
    Etcd,
    EtcdRefused,
    LeaseEnded,
    Put,
    Unreachable,
)
from scstfs.cluster.etcd_keys import ItemName, Keys
from scstfs.cluster.item import SharedItem
from scstfs.cluster.lease import Lease
from scstfs.cluster.replica import ClusterPort, KeyValue, Replica
from scstfs.core.fence import Clock, Fence, boot_clock

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = 0.2
_AFTER_FAILURE: Final = 1.0
#: How often this node compares what it knows with what etcd has (seconds): a watch may stand still
#: without an error, for example if its member was cut off from the others.
CHECK_SECONDS: Final = 1.0

PortsOfNode = Callable[[], Mapping[int, ClusterPort]]


class ClusterNode:
    """See the module's text."""

    def __init__(
        self,
        etcd: Etcd,
        cluster: str,
        name: str,
        ttl: int,
        ports: PortsOfNode,
        clock: Clock = boot_clock,
    ) -> None:
        """``ports`` gives this node's target ports."""
        self.etcd: Final = etcd
        self.cluster: Final = cluster
        self.name: Final = name
        self.keys: Final = Keys(cluster)
        self.replica: Final = Replica(self.keys)
        self._ttl: Final = ttl
        self._ports = ports
        self._clock = clock
        self._incarnation = uuid.uuid4().hex
        self._lease: Lease | None = None
        #: What keeps the node from serving although it has a lease.
        self._problem = ""
        self._told: str | None = None
        self._claimed: set[int] = set()
        self._ended = trio.Event()
        self._news = trio.Event()
        self.items: dict[ItemName, SharedItem[Any]] = {}
        self._scopes: dict[ItemName, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None

    # Items

    def add(self, item: SharedItem[Any]) -> None:
        """Serve an item."""
        self.items[item.name] = item
        item.attach(self)
        if self._nursery is not None:
            self._start(item)

    def _start(self, item: SharedItem[Any]) -> None:
        assert self._nursery is not None
        scope = self._scopes[item.name] = trio.CancelScope()

        async def run() -> None:
            with scope:
                while True:
                    try:
                        await item.run()
                    except Exception:
                        # A bug in one item must not end all others: it stays closed meanwhile.
                        log.exception("%s failed", item.name)
                        item.close()
                        await trio.sleep(_AFTER_FAILURE)

        self._nursery.start_soon(run)

    def remove(self, item: SharedItem[Any]) -> None:
        """Serve an item no more; the others are told by `leave`."""
        del self.items[item.name]
        scope = self._scopes.pop(item.name, None)
        if scope is not None:
            scope.cancel()
        item.detach()

    async def leave(self, names: Iterable[ItemName]) -> None:
        """Let the others go on without this node, at once."""
        deletes = [
            key
            for name in names
            for key in (self.keys.user(name, self.name), self.keys.served(name, self.name))
        ]
        try:
            if deletes:
                await self.etcd.transact((), deletes=deletes)
        except (Unreachable, LeaseEnded) as error:
            log.warning("cannot leave the cluster in good order: %s", error)

    # What items see

    @property
    def lease(self) -> int | None:
        """The lease, while it is valid and the node may serve."""
        lease = self._lease
        usable = lease is not None and lease.fence.is_open and not self._problem
        return lease.number if usable and lease is not None else None

    @property
    def seconds_left(self) -> float | None:
        """How long the lease is valid if it is not renewed; None without one."""
        return None if self._lease is None else self._lease.left

    @property
    def problem(self) -> str:
        """What keeps the node from serving although it has a lease."""
        return self._problem

    def issue_fence(self) -> Fence:
        """A new fence that is open until the lease ends."""
        return Fence(self._clock) if self._lease is None else self._lease.issue()

    def lose_lease(self) -> None:
        """The lease has ended."""
        lease, self._lease = self._lease, None
        if lease is None:
            return
        lease.end()
        self._ended.set()
        log.warning(
            "cluster %s: node %s has lost its lease; shared units are fenced",
            self.cluster,
            self.name,
        )
        for item in self.items.values():
            item.close()

    async def learn(self, revision: int, seconds: float) -> None:
        """Wait until changes up to ``revision`` are known, or for some time."""
        with trio.move_on_after(seconds):
            while self.replica.revision < revision:
                await self._news.wait()

    # Running

    async def run(self) -> None:
        """Take part in the cluster until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._keep_lease)
                nursery.start_soon(self._follow)
                for item in self.items.values():
                    self._start(item)
        finally:
            self._nursery = None
            lease, self._lease = self._lease, None
            for item in self.items.values():
                item.detach()
            if lease is not None:
                lease.end()
                with trio.move_on_after(1, shield=True):
                    await self.leave(self.items)
                    await self._revoke(lease)

    async def _revoke(self, lease: Lease) -> None:
        try:
            await self.etcd.revoke(lease.number)
        except (Unreachable, LeaseEnded) as error:
            log.debug("lease %x: %s", lease.number, error)

    # The lease

    async def _keep_lease(self) -> None:
        while True:
            since = self._clock()
            try:
                number, ttl = await self.etcd.grant(self._ttl)
            except Unreachable as error:
                refuses = "refuses" if isinstance(error, EtcdRefused) else "does not answer"
                self._tell(f"etcd {refuses}", f": {error}")
                await trio.sleep(RETRY_SECONDS)
                continue
            self._lease, self._ended = Lease(number, ttl, since, self._clock), trio.Event()
            self._problem, self._claimed = "not yet known to the others", set()
            await self._renew(self._lease)
            self.lose_lease()

    async def _renew(self, lease: Lease) -> None:
        """Renew the lease as long as that succeeds in time."""
        with trio.CancelScope() as scope:
            while lease.fence.is_open and self._lease is lease:
                scope.deadline = trio.current_time() + max(lease.left, 0)
                try:
                    await self._claim(lease)
                    await self._sleep(lease.interval)
                    since = self._clock()
                    await self.etcd.keep_alive(lease.number)
                except LeaseEnded:
                    return
                except Unreachable as error:
                    log.debug("lease %x: %s", lease.number, error)
                    await self._sleep(RETRY_SECONDS)
                else:
                    lease.renewed(since)

    async def _sleep(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self._ended.wait()

    async def _claim(self, lease: Lease) -> None:
        """Make this node and its ports known; see that no other node has their names."""
        if not self.replica.is_complete:
            await self.learn(1, lease.interval)
            return
        try:
            problem = await self._claim_name(lease) or await self._claim_ports(lease)
        except EtcdRefused as error:
            problem = f"etcd refuses: {error}"
        had_problem, self._problem = bool(self._problem), problem
        self._tell(problem)
        if had_problem and not problem:
            for item in self.items.values():
                item.wake()
        elif problem and not had_problem:
            for item in self.items.values():
                item.close()

    def _tell(self, problem: str, details: str = "") -> None:
        """Log a problem, or that there is none, unless that was the last thing that was logged."""
        if problem == self._told:
            return
        self._told = problem
        if problem:
            log.error(
                "cluster %s: shared units cannot be served: %s%s", self.cluster, problem, details
            )
        else:
            log.info("cluster %s: node %s takes part", self.cluster, self.name)

    async def _claim_name(self, lease: Lease) -> str:
        key, present = self.keys.member(self.name), self.replica.members.get(self.name)
        if present is not None and present.lease == lease.number:
            return ""
        if present is not None and present.incarnation != self._incarnation:
            return f"there is another node called {self.name}"
        text = replicas.member_text(self._incarnation, __version__)
        revision = self.replica.present.get(key, 0)
        outcome = await self.etcd.transact(
            [Condition(key, revision)], [Put(key, text, lease.number)]
        )
        await self.learn(outcome.revision, lease.interval)
        return "" if outcome.succeeded else f"another node is just taking the name {self.name}"

    async def _claim_ports(self, lease: Lease) -> str:
        ports = self._ports()
        for number in self._claimed - ports.keys():
            await self.etcd.transact((), deletes=[self.keys.port(number)])
            self._claimed.discard(number)
        for number, port in ports.items():
            if number in self._claimed:
                continue
            key, present = self.keys.port(number), self.replica.ports.get(number)
            if present is not None and present.node != self.name:
                return (
                    f"relative target port {number} of {port.target} is also that of "
                    f"{present.target} on node {present.node}"
                )
            revision = self.replica.present.get(key, 0)
            outcome = await self.etcd.transact(
                [Condition(key, revision)], [Put(key, replicas.port_text(port), lease.number)]
            )
            await self.learn(outcome.revision, lease.interval)
            if not outcome.succeeded:
                return f"relative target port {number} is just being taken by another node"
            self._claimed.add(number)
        return ""

    # What is known

    async def _follow(self) -> None:
        while True:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch, nursery.cancel_scope)
                    await self._check(nursery.cancel_scope)
            except* Compacted:
                self.replica.is_complete = False
            except* Unreachable as group:
                log.debug("watch: %s", group)
            await trio.sleep(RETRY_SECONDS)

    async def _watch(self, scope: trio.CancelScope) -> None:
        if not self.replica.is_complete:
            entries, revision = await self.etcd.prefix(self.keys.prefix)
            self.replica.load(entries, revision)
            self._learned(self.items.values())
        changes = self.etcd.watch(self.keys.prefix, self.replica.revision + 1)
        async with aclosing(changes):
            async for entries in changes:
                self._apply(entries)
        scope.cancel()

    def _apply(self, entries: list[KeyValue]) -> None:
        names = set()
        for entry in entries:
            self.replica.apply(entry)
            names.add(self.keys.item_of(entry.key))
        self._learned(self.items[name] for name in names if name in self.items)

    def _learned(self, items: Iterable[SharedItem[Any]]) -> None:
        self._news.set()
        self._news = trio.Event()
        for item in items:
            item.wake()

    async def _check(self, scope: trio.CancelScope) -> None:
        """Cancel ``scope`` if the watch stands still."""
        while True:
            await trio.sleep(CHECK_SECONDS)
            known = self.replica.revision
            if await self._is_current():
                continue
            await trio.sleep(CHECK_SECONDS / 2)
            if self.replica.revision == known and not await self._is_current():
                log.debug("the watch stands still")
                self.replica.is_complete = False
                self.etcd.turn()
                scope.cancel()

    async def _is_current(self) -> bool:
        prefix = self.keys.prefix
        newest, count = await self.etcd.newest(prefix), await self.etcd.count(prefix)
        return newest <= self.replica.revision and count == len(self.replica.present)
