"""Admission of commands to a device: blocking, serialisation and task attributes (SAM-5 8).

Commands that finish at once never enter a queue here. A command waits because the device is blocked
(``block``, ``suspend``), because a command that must be alone (serialised commands, ORDERED task
attribute) runs or waits, or because of *claims*: COMPARE AND WRITE, similar commands and copies let
no other command write their blocks (nor read what they write) until they are done. The queue is in
order of arrival, except that HEAD OF QUEUE commands overtake it. A command that waits for a claim
holds up only commands for the same blocks.

A copy has claims on several devices.  It gets all of them at once or none: while it waits it holds
nothing, and while it holds claims it waits only for disks. What it waits for is either running or
older than itself, on any device. So the oldest waiting command never waits for another that waits:
there is no deadlock, and no command is overtaken for ever.

An ORDERED command is taken as a barrier for the whole device, although TST=1 (the default) would
let it order the commands of its own nexus only: this is stricter than the standard requires, and
needs one mechanism instead of two.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Protocol

from scstfs.core.gated import Gated


class Claim(NamedTuple):
    """Blocks of a device from ``start`` to before ``end``, and what they are wanted for.

    Two commands may touch the same blocks at the same time if both only read, or if neither is
    exclusive: then the initiator must not care which comes first (SAM-5 8.6).
    Claims on another device than the command's own are always exclusive.
    """

    start: int
    end: int
    writes: bool
    exclusive: bool

    def excludes(self, other: Claim) -> bool:
        """Return whether the two cannot be granted at the same time."""
        return (
            max(self.start, other.start) < min(self.end, other.end)
            and (self.exclusive or other.exclusive)
            and (self.writes or other.writes)
        )


#: Behind the last block of any device.
END: Final = 1 << 64

#: All blocks change.
EVERYTHING: Final = Claim(0, END, writes=True, exclusive=False)


class TaskAttribute(enum.IntEnum):
    """Task attributes (SAM-5 8.6); the numbers are those of the iSCSI ATTR field."""

    UNTAGGED = 0
    SIMPLE = 1
    ORDERED = 2
    HEAD_OF_QUEUE = 3
    ACA = 4

    @property
    def is_unordered(self) -> bool:
        """Commands with this attribute may be executed in any order."""
        return self <= TaskAttribute.SIMPLE


class Task(Protocol):
    """The part of a command that a task set uses."""

    @property
    def head_of_queue(self) -> bool:
        """It overtakes waiting commands."""

    @property
    def alone(self) -> bool:
        """Nothing else may start on the device while it runs."""

    @property
    def waits_for_others(self) -> bool:
        """It may start only when nothing else runs on the device."""

    @property
    def exclusive(self) -> bool:
        """No other command may write its blocks meanwhile."""

    def claims(self) -> tuple[tuple[TaskSet, Claim], ...]:
        """The blocks that it touches, each with the task set of their device."""


class Activity:
    """The switch behind ``suspend``: while it is held, no device starts a command.

    It also numbers the commands of all devices in the order of their arrival.
    """

    def __init__(self) -> None:
        self._count = 0
        self._listeners: dict[TaskSet, None] = {}
        self.arrivals: Iterator[int] = itertools.count(1)

    @property
    def count(self) -> int:
        """How many times activity is suspended."""
        return self._count

    def attach(self, tasks: TaskSet) -> None:
        """Make ``tasks`` follow the switch."""
        self._listeners[tasks] = None
        tasks.set_suspended(self._count > 0)

    def detach(self, tasks: TaskSet) -> None:
        """Forget ``tasks``: its device is gone."""
        self._listeners.pop(tasks, None)

    def suspend(self) -> None:
        """Suspend once more."""
        self._count += 1
        self._tell()

    def resume(self) -> None:
        """Take one suspension back; more than were made are ignored."""
        if self._count:
            self._count -= 1
            self._tell()

    def when_idle(self, call: Callable[[], None]) -> None:
        """Call ``call`` when no device has a command running; that may be at once."""
        left = len(self._listeners)
        if not left:
            call()

        def one_less() -> None:
            nonlocal left
            left -= 1
            if not left:
                call()

        for tasks in tuple(self._listeners):
            tasks.when_idle(one_less)

    def _tell(self) -> None:
        for tasks in tuple(self._listeners):
            tasks.set_suspended(self._count > 0)


class Hold:
    """An activity at a device that is not one of its commands.

    One ``in_background`` has no claims, is not waited for by other commands, and keeps the device
    from being closed; any other counts as a command.
    """

    __slots__ = ("claims", "in_background")

    def __init__(self, claims: Iterable[Claim], *, in_background: bool) -> None:
        self.claims = tuple(claims)
        self.in_background = in_background


class Watchers:
    """Observers that are told of every write before it takes effect."""

    _calls: Gated[tuple[Callable[[Claim], None], ...]] = Gated(())

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, call: Callable[[Claim], None]) -> None:
        """Call ``call`` with every claim to write from now on."""
        self._calls = (*self._calls, call)

    def remove(self, call: Callable[[Claim], None]) -> None:
        """Call ``call`` no more."""
        self._calls = tuple(other for other in self._calls if other != call)

    def tell(self, claim: Claim) -> None:
        """Blocks are about to be written."""
        for call in self._calls:
            call(claim)


class TaskSet:
    """The commands of one device that run or wait."""

    def __init__(self, start: Callable[[Any], None], arrivals: Iterator[int] | None = None) -> None:
        """``start`` is called for a command that has waited and may start now.

        ``arrivals`` numbers commands; task sets that share copies share it.
        """
        self.start = start
        self.external_blocks = 0
        #: Requests to block that still wait for commands to end (``block``'s second number).
        self.pending_blocks = 0
        #: True while new commands cannot simply start; the quick way looks at this alone.
        self.gated = False
        self.watchers: Final = Watchers()
        self._arrivals = itertools.count(1) if arrivals is None else arrivals
        self._suspended = False
        self._frozen = 0
        self._alone: Task | None = None
        self._running: set[Task] = set()
        self._holds: set[Hold] = set()
        #: How many of the running commands and holds have exclusive claims.
        self._claimed = 0
        #: In order of arrival, the number of which comes first.
        self._waiting: list[tuple[int, Task]] = []
        self._idle_calls: list[tuple[bool, Callable[[], None]]] = []
        #: Where copies wait that need something here.
        self._dependents: dict[TaskSet, None] = {}
        self._pumping = self._pump_again = False

    @property
    def running(self) -> frozenset[Task]:
        """Ts that execute outside the event loop now."""
        return frozenset(self._running)

    @property
    def waiting(self) -> tuple[Task, ...]:
        """Ts that wait for their turn, in order."""
        return tuple(cmd for _, cmd in self._waiting)

    def __iter__(self) -> Iterator[Task]:
        yield from self._running
        yield from self.waiting

    # The life of a command

    def admit(self, cmd: Task) -> bool:
        """True when ``cmd`` may start now; otherwise it is queued and started later."""
        arrival = next(self._arrivals)
        if cmd.head_of_queue:
            # As if it had arrived first.
            arrival = -arrival
        if self._can_start(arrival, cmd):
            return True
        place = 0 if cmd.head_of_queue else len(self._waiting)
        self._waiting.insert(place, (arrival, cmd))
        self._update()
        return False

    def started(self, cmd: Task) -> None:
        """``cmd`` continues outside the event loop; may be called again."""
        if cmd in self._running:
            return
        self._running.add(cmd)
        if cmd.alone:
            self._alone = cmd
        if cmd.exclusive:
            self._claimed += 1
        if cmd.alone or cmd.exclusive:
            self._update()

    def began(self, cmd: Task) -> None:
        """``cmd`` goes on outside the event loop; it is neither alone nor exclusive."""
        self._running.add(cmd)

    def finished(self, cmd: Task) -> None:
        """``cmd`` is done; if it had been ``started``, others may start now."""
        if cmd not in self._running:
            return
        self._running.discard(cmd)
        if not (self.gated or self._idle_calls or self._dependents):
            # Nothing waits, and it was neither alone nor exclusive.
            return
        if cmd.exclusive:
            self._claimed -= 1
        if self._alone is cmd:
            self._alone = None
        self.pump()

    def withdraw(self, cmd: Task) -> bool:
        """Take a waiting command out of the queue; False when it does not wait here."""
        left = [entry for entry in self._waiting if entry[1] is not cmd]
        if len(left) == len(self._waiting):
            return False
        self._waiting = left
        self.pump()
        return True

    # Activities that are not commands

    def hold(self, claims: Iterable[Claim] = (), *, in_background: bool = False) -> Hold:
        """Begin something that ends with ``release``.

        Its claims are free because the command that needs them was admitted; call this before other
        code can run.
        """
        hold = Hold(claims, in_background=in_background)
        self._holds.add(hold)
        if hold.claims:
            self._claimed += 1
        self._update()
        return hold

    def release(self, hold: Hold) -> None:
        """End what ``hold`` began; others may start now."""
        self._holds.remove(hold)
        if hold.claims:
            self._claimed -= 1
        self.pump()

    # Blocking

    def block(self) -> None:
        """One more external blocker: nothing starts until as many ``unblock`` calls came."""
        self.external_blocks += 1
        self._update()

    def unblock(self) -> None:
        """Take one external blocker away."""
        if self.external_blocks:
            self.external_blocks -= 1
            self.pump()

    def unblock_all(self) -> None:
        """The device is deleted: nothing else can unblock it for copies that wait."""
        self.external_blocks = 0
        self.pump()

    def freeze(self) -> None:
        """Start no command until ``thaw``: the device is being changed."""
        self._frozen += 1
        self._update()

    def thaw(self) -> None:
        """Undo one ``freeze``."""
        self._frozen -= 1
        self.pump()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Start no command inside the context."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def set_suspended(self, suspended: bool) -> None:
        """Follow the global switch."""
        self._suspended = suspended
        self.pump()

    def when_idle(self, call: Callable[[], None], *, background_too: bool = False) -> None:
        """Call ``call`` as soon as no command runs outside the event loop; that may be at once.

        ``background_too`` also waits for activities in the background.
        """
        self._idle_calls.append((background_too, call))
        self._call_idle()

    # Starting commands

    def pump(self) -> None:
        """Start the waiting commands that may start now: something has ended."""
        self._pump(ended=True)

    def _pump(self, *, ended: bool) -> None:
        if self._pumping:
            # Starting a command ended something: the loop below looks again.
            self._pump_again = True
            return
        started = False
        if self._waiting:
            self._pumping = True
            try:
                started = self._start_waiting()
            finally:
                self._pumping = False
        self._update()
        if self._idle_calls:
            self._call_idle()
        # Only a change here can help copies that wait elsewhere; they might wait for each other.
        if self._dependents and (ended or started):
            dependents, self._dependents = self._dependents, {}
            for dependent in dependents:
                dependent._pump(ended=False)

    def _start_waiting(self) -> bool:
        """Start what may start; returns whether anything did."""
        started = False
        self._pump_again = True
        while self._pump_again:
            self._pump_again = False
            for arrival, cmd in tuple(self._waiting):
                if self._can_start(arrival, cmd):
                    self._waiting.remove((arrival, cmd))
                    self._update()
                    self.start(cmd)
                    # What could not start before may do so now, and the queue may be another.
                    started = self._pump_again = True
                    break
                if self._is_closed or cmd.waits_for_others:
                    break
        return started

    @property
    def _is_closed(self) -> bool:
        """Return whether no command at all may start."""
        return (
            self._suspended
            or self.external_blocks > 0
            or self._frozen > 0
            or self._alone is not None
        )

    def _can_start(self, arrival: int, cmd: Task) -> bool:
        if self._is_closed or (cmd.waits_for_others and self._is_busy):
            return False
        if not (self._waiting or self._claimed or cmd.exclusive):
            return True
        for number, other in self._waiting:
            if number >= arrival:
                break
            if cmd.waits_for_others or other.waits_for_others:
                return False
        return all(self._ask(tasks, arrival, claim) for tasks, claim in cmd.claims())

    def _ask(self, tasks: TaskSet, arrival: int, claim: Claim) -> bool:
        granted = tasks._is_free(arrival, claim)
        if not granted and tasks is not self:
            tasks._dependents[self] = None
        return granted

    def _is_free(self, arrival: int, claim: Claim) -> bool:
        """Return whether ``claim`` conflicts with nothing that runs here or has waited longer."""
        if self._is_closed:
            return False
        for number, cmd in self._waiting:
            if number >= arrival:
                break
            if cmd.waits_for_others or self._excludes(cmd, claim):
                return False
        return not (
            any(held.excludes(claim) for hold in self._holds for held in hold.claims)
            or any(self._excludes(cmd, claim) for cmd in self._running)
        )

    def _excludes(self, cmd: Task, claim: Claim) -> bool:
        """Return whether ``cmd`` needs the same blocks of this device."""
        return any(tasks is self and own.excludes(claim) for tasks, own in cmd.claims())

    @property
    def _is_busy(self) -> bool:
        return bool(self._running) or any(not hold.in_background for hold in self._holds)

    def _call_idle(self) -> None:
        if self._is_busy:
            return
        ready = [call for background, call in self._idle_calls if not (background and self._holds)]
        if self._holds:
            self._idle_calls = [entry for entry in self._idle_calls if entry[0]]
        else:
            self._idle_calls = []
        for call in ready:
            call()

    def _update(self) -> None:
        self.gated = bool(self._is_closed or self._waiting or self._claimed)
