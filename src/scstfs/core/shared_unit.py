"""A device whose reservations it shares with other nodes (cluster mode).

All nodes have the same state, and each change is one for all: the node that wants one computes the
new state, the nodes agree on it (`core.sharing.Agreement`), and each takes it over (`adopt`), which
is also how the node that asked gets it.  While that happens the unit is closed: no command starts,
so that none finds the new state here while another finds the old one elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from scstfs.core import completion, execute, task_management
from scstfs.core.command import Command, Phase
from scstfs.core.device import LATER, Answer
from scstfs.core.fence import Fence
from scstfs.core.gated import Gated
from scstfs.core.nexus_effects import take_effect
from scstfs.core.persistent_out import Effect
from scstfs.core.session import Session
from scstfs.core.sharing import Agreement, NoAgreement, outcome
from scstfs.persist.unit_state import NexusEffect, ReservedBy, UnitState
from scstfs.scsi import sense
from scstfs.scsi.sense import Sense, SenseKey
from scstfs.scsi.status import busy
from scstfs.scsi.transport_id import TransportId

if TYPE_CHECKING:
    from scstfs.core.device import Device, Elsewhere

#: How long commands wait while the unit is closed, before they end with BUSY (seconds).  Initiators
#: try again then; the time is more than a node needs to find out that another one has died.
HOLD_SECONDS: Final = 5.0


class HolderElsewhere:
    """The holder of a reservation by RESERVE that is connected to another node."""

    def __init__(self, holder: ReservedBy) -> None:
        self.holder: Final = holder


class SharedUnit:
    """The shared side of one device."""

    #: Replaced when the node has joined again: decisions made before end with the old one.
    fence: Gated[Fence] = Gated()

    def __init__(self, device: Device, node: str, agreement: Agreement[UnitState]) -> None:
        """Closed, until `open` is called."""
        self.device: Final = device
        self.node: Final = node
        self._agreement: Final = agreement
        self.fence = Fence()
        self.is_closed = True
        device.tasks.freeze()
        #: Commands that wait for an agreement.
        self._waiting: dict[Command, None] = {}
        self._then: dict[Command, Callable[[], Answer]] = {}
        #: The node that may execute atomic commands.
        self._atomic_at: str | None = None
        #: The one whose change was computed last; None if it was for no command.
        self._origin: Command | None = None

    # Open and closed

    def close(self) -> None:
        """Start no command until `open`."""
        if not self.is_closed:
            self.is_closed = True
            self.device.tasks.freeze()

    def open(self, fence: Fence) -> None:
        """Start commands, as long as ``fence`` is open."""
        self.fence = fence
        if self.is_closed:
            self.is_closed = False
            self.device.tasks.thaw()

    def give_up(self) -> None:
        """Start no command, and execute none that has been started."""
        self.close()
        self.fence.close()

    def close_if_late(self) -> bool:
        """Close the unit if its time is over; return whether it is."""
        if self.fence.is_open:
            return False
        self.close()
        return True

    def expire(self) -> None:
        """End commands that have waited long enough with BUSY."""
        if not self.is_closed:
            return
        for tgt_dev in list(self.device.tgt_devs):
            for cmd in list(tgt_dev.commands):
                if cmd.phase is Phase.BLOCKED and cmd.age > HOLD_SECONDS:
                    completion.send_back(cmd)

    def leave(self) -> None:
        """The device is not shared any more; it keeps the state that it has."""
        self.open(Fence())
        self.device.shared = None

    # Changes that are wanted here

    def change(self, cmd: Command, compute: Callable[[], UnitState]) -> Answer:
        """See ``core.device.Sharing``; ``compute`` may raise what commands end with."""
        # Not by `TaskSet.started`: the change waits until everything else has ended.  That nothing
        # starts after it is what closing is for.
        cmd.enter(Phase.EXECUTING)
        self._waiting[cmd] = None
        self.close()

        def computed() -> UnitState:
            if cmd.abort is not None or cmd.tgt_dev.is_gone:
                raise busy()
            self._origin = cmd
            return compute()

        self._agreement.change(computed, partial(self._end, cmd))
        return LATER

    def _end(self, cmd: Command, error: Exception | None) -> None:
        """End a command that waits for an agreement, unless it has ended before."""
        if cmd in self._waiting:
            del self._waiting[cmd]
            then = self._then.pop(cmd, None)
            use = then if then is not None and error is None else partial(outcome, error)
            execute.resume(cmd, use)

    @property
    def is_atomic_here(self) -> bool:
        """See ``core.device.Sharing``."""
        return self._atomic_at == self.node

    def make_atomic(self, cmd: Command, then: Callable[[], Answer]) -> Answer:
        """See ``core.device.Sharing``."""
        # What ``then`` starts has begun before the next change, which waits for its end.
        self._then[cmd] = then
        return self.change(cmd, lambda: replace(self.state(), atomic_at=self.node))

    def change_quietly(
        self, compute: Callable[[], UnitState], done: Callable[[], None] = lambda: None
    ) -> None:
        """Change the state for another reason than a command."""

        def computed() -> UnitState:
            self._origin = None
            return compute()

        self._agreement.change(computed, lambda _error: done())

    def state(self) -> UnitState:
        """The state as it is here, without the last change's effects."""
        return self.state_held_by(self.device.reserved_by)

    def state_held_by(self, holder: Session | Elsewhere | None) -> UnitState:
        """See ``core.device.Sharing``."""
        pr, reserved_by = self.device.pr, None
        if isinstance(holder, Session):
            reserved_by = ReservedBy(self.node, _name(holder))
        elif holder is not None:
            reserved_by = holder.holder
        return UnitState(pr.save_state(), pr.generation, reserved_by, self._atomic_at)

    def release(self, session: Session) -> None:
        """See ``core.device.Sharing``."""
        self._release(ReservedBy(self.node, _name(session)))

    def _release(self, holder: ReservedBy) -> None:
        def compute() -> UnitState:
            state = self.state()
            return state if state.reserved_by != holder else replace(state, reserved_by=None)

        self.change_quietly(compute)

    def reset(self, done: Callable[[], None]) -> None:
        """See ``core.device.Sharing``; what the reset means here has been done."""
        self.change_quietly(lambda: replace(self.state(), reserved_by=None, is_reset=True), done)

    # Taking a state over

    def when_quiet(self, call: Callable[[], None]) -> None:
        """Call ``call`` when no command runs any more; the unit must be closed."""
        self.device.tasks.when_idle(call)

    def adopt(self, state: UnitState, *, is_next: bool, is_mine: bool) -> None:
        """Make ``state`` the one that is valid here.

        ``is_next``: exactly one change lies between it and the state before, so the effects that
        come with it are all that there are.  ``is_mine``: that change was computed here.
        """
        effects = self._resolve(state.effects) if is_next else self._missed(state)
        self.device.pr.adopt(state.reservations, state.generation)
        self._set_holder(state.reserved_by)
        self._atomic_at = state.atomic_at
        victims = take_effect(effects, self._origin if is_mine else None)
        if state.is_reset and is_next and not is_mine:
            victims += task_management.reset_here(self.device)
        # Those that wait for an agreement themselves are not waited for: theirs comes too late.
        for cmd in victims:
            self._end(cmd, NoAgreement())

    def when_adopted(self, call: Callable[[], None]) -> None:
        """Call ``call``: nothing that `adopt` does takes time."""
        call()

    def _set_holder(self, holder: ReservedBy | None) -> None:
        device = self.device
        present = device.reserved_by
        if holder is None:
            device.reserved_by = None
        elif holder.node == self.node:
            sessions = (tgt_dev.session for tgt_dev in device.tgt_devs)
            own = next((one for one in sessions if _name(one) == holder.nexus), None)
            device.reserved_by = own or HolderElsewhere(holder)
            if own is None:
                self._release(holder)  # it has gone meanwhile
        elif not (isinstance(present, HolderElsewhere) and present.holder == holder):
            device.reserved_by = HolderElsewhere(holder)

    def _resolve(self, effects: Iterable[NexusEffect]) -> list[Effect]:
        """Effects on nexuses that are connected here."""
        found = []
        for transport_id, rel_tgt_id, condition in effects:
            registrant = self.device.pr.find(TransportId(transport_id), rel_tgt_id)
            if registrant is not None:
                triple = None if condition is None else _sense(condition)
                found.append(Effect.on(registrant, triple, self.device.former))
        return found

    def _missed(self, state: UnitState) -> list[Effect]:
        """Effects of changes that were made while this node was cut off, as far as they show."""
        pr, saved = self.device.pr, state.reservations
        left = {(entry.transport_id, entry.rel_tgt_id) for entry in saved.registrants}
        before = pr.reservation
        is_released = (
            before is not None
            and before.type.for_registrants
            and (saved.reservation is None or saved.reservation[0] != before.type)
        )
        effects = []
        for registrant in pr.registrants:
            if (registrant.transport_id.data, registrant.rel_tgt_id) not in left:
                effects.append(Effect.on(registrant, sense.REGISTRATIONS_PREEMPTED))
            elif is_released:
                effects.append(Effect.on(registrant, sense.RESERVATIONS_RELEASED))
        return effects


def _name(session: Session) -> str:
    """What this node calls a session among nodes; another session of the same name differs."""
    return f"{session.target.rel_tgt_id}/{session.name}/{id(session):x}"


def _sense(triple: tuple[int, int, int]) -> Sense:
    key, asc, ascq = triple
    return Sense(SenseKey(key), asc, ascq)
