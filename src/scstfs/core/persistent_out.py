"""The service actions of PERSISTENT RESERVE OUT (SPC-4 5.13, 6.16), in SCST's order of checks.

An action changes the state and lists its effects on other nexuses, which are applied only when the
changed state is durable. All errors of a command are found before anything changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from scstfs.core.alua import group_of
from scstfs.core.persistent import PersistentReservations, Registrant
from scstfs.core.scst import registry_of
from scstfs.core.session import TgtDev
from scstfs.persist.unit_state import NexusEffect
from scstfs.scsi import pr, sense
from scstfs.scsi.pr import OutAction, PrOut, PrType
from scstfs.scsi.sense import CheckCondition, Sense
from scstfs.scsi.status import reservation_conflict
from scstfs.scsi.transport_id import TransportId

if TYPE_CHECKING:
    from scstfs.core.device import Device
    from scstfs.core.scst import Scst

#: Registrations of one device.  SCST is limited by memory and by its file; an initiator must not
#: exhaust either with lists of made-up TransportIDs.
MOST_REGISTRANTS: Final = 2048

_REGISTRANTS_ONLY: Final = (
    PrType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY,
    PrType.EXCLUSIVE_ACCESS_REGISTRANTS_ONLY,
)


class Effect(NamedTuple):
    """An effect on another nexus: a unit attention, or (None) its commands are aborted.

    Attributes:
        transport_id, rel_tgt_id: the ports of the nexus, which need not be connected here.
        tgt_devs: nexuses of these ports that are.
    """

    transport_id: TransportId
    rel_tgt_id: int
    condition: Sense | None
    tgt_devs: tuple[TgtDev, ...]

    @classmethod
    def on(
        cls, registrant: Registrant, condition: Sense | None, former: Iterable[TgtDev] = ()
    ) -> Effect:
        """An effect on a registered nexus; its former ones may still have commands to abort."""
        nexus = registrant.tgt_dev
        assert nexus is None or isinstance(nexus, TgtDev)
        tgt_devs = [] if nexus is None else [nexus]
        if condition is None:
            tgt_devs += [one for one in former if registrant.is_of(one)]
        return cls(registrant.transport_id, registrant.rel_tgt_id, condition, tuple(tgt_devs))


class PrOutCommand:
    """One PERSISTENT RESERVE OUT, from a nexus that may send it."""

    def __init__(self, state: PersistentReservations, tgt_dev: TgtDev, request: PrOut) -> None:
        self.state = state
        self.tgt_dev = tgt_dev
        self.device = tgt_dev.device
        self.request = request
        #: In the order in which they are applied.
        self.effects: list[Effect] = []

    def tell(self, registrants: Iterable[Registrant], condition: Sense) -> None:
        """Queue the unit attention for registrants."""
        self.effects += [Effect.on(registrant, condition) for registrant in registrants]

    def abort(self, registrant: Registrant) -> None:
        """Abort the commands of a nexus, including those of former nexuses of the same ports."""
        self.effects.append(Effect.on(registrant, None, self.device.former))

    @property
    def registry(self) -> Scst:
        """Where there are all targets."""
        return registry_of(self.tgt_dev.session.target)

    def sender(self) -> Registrant:
        """The sender's registration; its key must be right."""
        registrant = self.tgt_dev.registrant
        if registrant is None or registrant.key != self.request.key:
            raise reservation_conflict()
        return registrant

    def is_same_reservation(self) -> bool:
        """Type and scope are those of the reservation."""
        held, request = self.state.reservation, self.request
        return held is not None and (held.type, held.scope) == (request.type, request.scope)

    def reserve_for(self, registrant: Registrant) -> None:
        """Make ``registrant`` the holder of the requested reservation."""
        self.state.set_holder(registrant, PrType(self.request.type), self.request.scope)


def perform(
    state: PersistentReservations, tgt_dev: TgtDev, cdb: bytes, data: bytes
) -> list[Effect]:
    """Execute PERSISTENT RESERVE OUT; return its effects on other nexuses.

    Raises CheckCondition or TaskStatus, and has changed nothing then.
    """
    action = cdb[1] & 0x1F
    registers = action in (OutAction.REGISTER, OutAction.REGISTER_AND_IGNORE)
    if not registers and tgt_dev.registrant is None:
        raise reservation_conflict()
    request = pr.decode_out(cdb, data)
    command = PrOutCommand(state, tgt_dev, request)
    _ACTIONS[request.action](command)
    device = tgt_dev.device
    device.env.trace.event(
        "pr", "%s: %s on device %s", tgt_dev.session.name, request.action.name, device.name
    )
    return command.effects


def for_other_nodes(effects: Iterable[Effect]) -> tuple[NexusEffect, ...]:
    """Effects as other nodes get them."""
    return tuple(
        NexusEffect(
            effect.transport_id.data,
            effect.rel_tgt_id,
            None if effect.condition is None else effect.condition.triple,
        )
        for effect in effects
    )


# Registering


def _register(command: PrOutCommand) -> None:
    registrant, request = command.tgt_dev.registrant, command.request
    if request.key != (registrant.key if registrant is not None else 0):
        raise reservation_conflict()
    if registrant is not None:
        request.refuse_spec_i_pt()
    _register_and_ignore(command)


def _register_and_ignore(command: PrOutCommand) -> None:
    state, request = command.state, command.request
    registrant = command.tgt_dev.registrant
    if registrant is None:
        if request.action_key:
            _register_nexuses(command)
    elif request.action_key:
        registrant.key = request.action_key
    elif request.all_tg_pt:
        _unregister_all_ports(command, registrant.transport_id)
    else:
        _unregister(command, registrant)
    state.generation += 1
    state.aptpl = request.aptpl


def _register_nexuses(command: PrOutCommand) -> None:
    """Register the sender, and what SPEC_I_PT and ALL_TG_PT add."""
    state, request, session = command.state, command.request, command.tgt_dev.session
    own = session.transport_id
    assert own is not None
    ports = [session.target.rel_tgt_id]
    if request.all_tg_pt:
        ports = _all_target_ports(command, own)
    if not ports:
        return
    others = list(_expand(command.device, request.transport_ids()))
    if len(state.registrants) + len(ports) * (len(others) + 1) > MOST_REGISTRANTS:
        raise CheckCondition(sense.INSUFFICIENT_REGISTRATION_RESOURCES)
    for rel_tgt_id in ports:
        for transport_id in others:
            state.register(transport_id, rel_tgt_id, request.action_key)
        if state.find(own, rel_tgt_id) is None:
            state.register(own, rel_tgt_id, request.action_key)


def _expand(device: Device, transport_ids: Iterable[TransportId]) -> Iterable[TransportId]:
    """An iSCSI name without ISID stands for the present sessions of that initiator."""
    for transport_id in transport_ids:
        if not transport_id.wildcard:
            yield transport_id
            continue
        for tgt_dev in device.tgt_devs:
            present = tgt_dev.transport_id
            if present is not None and present.same_port(transport_id):
                yield present


def _all_target_ports(command: PrOutCommand, transport_id: TransportId) -> list[int]:
    """Relative identifiers of every port that the initiator's protocol can reach."""
    local = [
        target.rel_tgt_id
        for target in command.registry.targets()
        if target.driver.protocol == transport_id.protocol
        and target.rel_tgt_id
        and not target.forward_dst
    ]
    group = group_of(command.device)
    remote = [
        entry.rel_tgt_id
        for target_group in (group.target_groups.values() if group is not None else ())
        for entry in target_group.targets.values()
        if entry.target is None and entry.rel_tgt_id
    ]
    return list(dict.fromkeys(local + remote + _ports_of_other_nodes(command, transport_id)))


def _ports_of_other_nodes(command: PrOutCommand, transport_id: TransportId) -> list[int]:
    """Relative identifiers of target ports of the cluster that are not of this node."""
    cluster = command.registry.cluster
    if cluster is None or command.device.shared is None:
        return []
    return list(cluster.other_ports(transport_id.protocol))


def _unregister(command: PrOutCommand, registrant: Registrant) -> None:
    state = command.state
    held = state.reservation if state.is_holder(registrant) else None
    state.remove(registrant)
    if held is not None and state.reservation is None and held.type in _REGISTRANTS_ONLY:
        command.tell(state.registrants, sense.RESERVATIONS_RELEASED)


def _unregister_all_ports(command: PrOutCommand, transport_id: TransportId) -> None:
    state = command.state
    ports = [
        target.rel_tgt_id
        for target in command.registry.targets()
        if target.driver.protocol == transport_id.protocol
    ]
    for rel_tgt_id in ports + _ports_of_other_nodes(command, transport_id):
        registrant = state.find(transport_id, rel_tgt_id)
        if registrant is not None:
            _unregister(command, registrant)


def _register_and_move(command: PrOutCommand) -> None:
    state, request = command.state, command.request
    registrant = command.sender()
    if state.reservation is None:
        raise CheckCondition(sense.INVALID_FIELD_IN_CDB)
    if not state.is_holder(registrant):
        raise reservation_conflict()
    request.check_move_key()
    target = request.moved_to()
    if state.reservation.type.all_registrants:
        raise reservation_conflict()
    if registrant.transport_id.same_port(target):
        raise request.same_port()
    state.holder = state.register(target, request.rel_tgt_id, request.action_key)
    if request.unreg:
        state.remove(registrant)
    state.generation += 1
    state.aptpl = request.aptpl


# Reserving


def _reserve(command: PrOutCommand) -> None:
    state, registrant = command.state, command.sender()
    if state.reservation is None:
        command.reserve_for(registrant)
    elif not state.is_holder(registrant) or not command.is_same_reservation():
        raise reservation_conflict()


def _release(command: PrOutCommand) -> None:
    state = command.state
    held = state.reservation
    if held is None:
        return
    registrant = command.sender()
    if not state.is_holder(registrant):
        return
    if not command.is_same_reservation():
        raise CheckCondition(sense.INVALID_RELEASE)
    state.clear_reservation()
    if held.type.for_registrants:
        command.tell(state.others(registrant), sense.RESERVATIONS_RELEASED)


def _clear(command: PrOutCommand) -> None:
    state = command.state
    command.tell(state.others(command.sender()), sense.RESERVATIONS_PREEMPTED)
    for registrant in tuple(state.registrants):
        state.remove(registrant)
    state.generation += 1


# Preempting


def _preempt(command: PrOutCommand) -> None:
    state, key = command.state, command.request.action_key
    registrant, holder = command.sender(), state.holder
    shared = state.reservation is not None and state.reservation.type.all_registrants
    if shared and not key:
        _throw_out(command, state.others(registrant))
        command.reserve_for(registrant)
    elif holder is not None and holder.key == key:
        changes = not command.is_same_reservation()
        _throw_out(command, state.with_key(key))
        command.reserve_for(registrant)
        if changes:
            command.tell(state.others(registrant), sense.RESERVATIONS_RELEASED)
    else:
        _preempt_registrations(command, registrant)
    state.generation += 1


def _preempt_registrations(command: PrOutCommand, registrant: Registrant) -> None:
    """Preempt registrations only: the reservation has another key."""
    state, key = command.state, command.request.action_key
    if state.holder is not None and not key:
        raise sense.invalid_field_in_parameter_list(8)
    matching = state.with_key(key)
    if not matching:
        raise reservation_conflict()
    # With a single holder SCST also removes the sender's own registration if it has the key.
    takes_own = state.holder is not None and registrant in matching
    _throw_out(command, matching)
    if takes_own:
        state.remove(registrant)


def _throw_out(command: PrOutCommand, victims: Iterable[Registrant]) -> None:
    """Abort the commands of ``victims`` if requested, and end their registrations.

    The sender keeps its own.
    """
    for victim in victims:
        if command.request.action is OutAction.PREEMPT_AND_ABORT:
            command.abort(victim)
        if victim is not command.tgt_dev.registrant:
            command.tell((victim,), sense.REGISTRATIONS_PREEMPTED)
            command.state.remove(victim)


_Action: TypeAlias = Callable[[PrOutCommand], None]

_ACTIONS: Final[Mapping[OutAction, _Action]] = MappingProxyType(
    {
        OutAction.REGISTER: _register,
        OutAction.RESERVE: _reserve,
        OutAction.RELEASE: _release,
        OutAction.CLEAR: _clear,
        OutAction.PREEMPT: _preempt,
        OutAction.PREEMPT_AND_ABORT: _preempt,
        OutAction.REGISTER_AND_IGNORE: _register_and_ignore,
        OutAction.REGISTER_AND_MOVE: _register_and_move,
    }
)
