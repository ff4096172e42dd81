"""The settings that a virtual device is created with, and the parsers of ``add_device`` parameters.

SCST keeps flags in one-bit fields, so a number is cut to its lowest bit: ``read_only=2`` is
accepted and means 0. We do the same, because such configurations exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from scstfs.handlers.protection import Mode, parse_mode
from scstfs.scsi.identity import T10_DEV_ID_LENGTH
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.errors import invalid
from scstfs.sysfs.mgmt import Parameter
from scstfs.sysfs.numbers import kstrtoll, kstrtoull
from scstfs.sysfs.text import encode

MIN_BLOCK_SHIFT: Final = 9
NULLIO_SIZE: Final = 5 << 39
DEFAULT_OPT_TRANS_LEN: Final = 512 * 1024
NO_NUMA_NODE: Final = -1


@dataclass(slots=True)
class VdiskSettings:
    """The settings that a virtual device is created with."""

    filename: str | None = None
    block_shift: int = MIN_BLOCK_SHIFT
    read_only: bool = False
    write_through: bool = False
    nv_cache: bool = False
    o_direct: bool = False
    asynchronous: bool = False
    removable: bool = False
    rotational: bool = True
    #: None unless it was given.
    thin_provisioned: bool | None = None
    tst: int = 1
    dummy: bool = False
    active: bool = True
    bind_alua_state: bool = True
    lb_per_pb_exp: bool = True
    cluster_mode: bool = False
    #: Bytes.
    size: int = 0
    numa_node_id: int = NO_NUMA_NODE
    t10_dev_id: str | None = None
    dif_mode: Mode = Mode.NONE
    dif_type: int = 0
    dif_static_app_tag: int = 0
    dif_filename: str | None = None


Take = Callable[[VdiskSettings, str], None]


def take_flag(name: str) -> Take:
    """A one-bit field."""

    def put(settings: VdiskSettings, text: str) -> None:
        setattr(settings, name, bool(_unsigned(text) & 1))

    return put


def take_choice(name: str, kind: type[int]) -> Take:
    """0 or 1 and nothing else."""

    def put(settings: VdiskSettings, text: str) -> None:
        value = _unsigned(text)
        if value > 1:
            raise invalid(f"Invalid value {value} of {name}")
        setattr(settings, name, kind(value))

    return put


def take_nonzero(name: str) -> Take:
    """0 or any other number."""

    def put(settings: VdiskSettings, text: str) -> None:
        setattr(settings, name, bool(_unsigned(text)))

    return put


def _unsigned(text: str) -> int:
    data = encode(text)
    kstrtoll(data)
    return kstrtoull(data)


def take_filename(settings: VdiskSettings, text: str) -> None:
    """An absolute path, once."""
    if settings.filename is not None:
        raise invalid("filename specified more than once")
    if not text.startswith("/"):
        raise invalid(f"Filename {text} must be global")
    settings.filename = text


def take_t10_dev_id(settings: VdiskSettings, text: str) -> None:
    """Text of a limited length."""
    if len(encode(text)) > T10_DEV_ID_LENGTH:
        raise invalid(f"T10 device id is too long (max {T10_DEV_ID_LENGTH} characters)")
    settings.t10_dev_id = text


def take_numa_node_id(settings: VdiskSettings, text: str) -> None:
    """A node, or -1 for none in particular."""
    # An int in SCST: cut to 32 bits.
    value = (kstrtoll(encode(text)) + (1 << 31)) % (1 << 32) - (1 << 31)
    if value < NO_NUMA_NODE:
        raise invalid(f"Invalid NUMA node {value}")
    settings.numa_node_id = value


def take_block_size(settings: VdiskSettings, text: str) -> None:
    """Bytes."""
    # An int in SCST; cut down to a power of two, and 0 means the default.
    value = _unsigned(text) & 0xFFFFFFFF
    shift = value.bit_length() - 1 if value else MIN_BLOCK_SHIFT
    if shift < MIN_BLOCK_SHIFT:
        raise invalid(f"blocksize {value} too small")
    settings.block_shift = shift


def take_size(shift: int) -> Take:
    """A number of units of 2**shift bytes."""

    def put(settings: VdiskSettings, text: str) -> None:
        settings.size = (_unsigned(text) << shift) % (1 << 64)

    return put


def take_dif_filename(settings: VdiskSettings, text: str) -> None:
    """An absolute path."""
    if not text.startswith("/"):
        raise invalid(f"DIF filename {text} must be global")
    settings.dif_filename = text


def take_dif_mode(settings: VdiskSettings, text: str) -> None:
    """Words joined by ``|``."""
    settings.dif_mode |= parse_mode(text)


def take_dif_type(settings: VdiskSettings, text: str) -> None:
    """A number."""
    # An int in SCST, where its range is checked once the device is attached.
    settings.dif_type = (_unsigned(text) + (1 << 31)) % (1 << 32) - (1 << 31)


def take_dif_static_app_tag(settings: VdiskSettings, text: str) -> None:
    """A number."""
    settings.dif_static_app_tag = _unsigned(text)


@dataclass(frozen=True, slots=True, eq=False)
class VdiskParameter:
    """One parameter.

    Attributes:
        name: in lower case, as in ``add_device`` and the attribute.
        take: parses a text into the settings; raises SysfsError.
        handlers: those whose usage text lists it.
        rows: the attribute that shows it, by handler. It may exist for handlers that do not list
            the parameter.
    """

    name: str
    take: Take
    handlers: tuple[str, ...]
    rows: Mapping[str, Attr[Any, Any]] = field(default_factory=dict)


def apply(
    settings: VdiskSettings, parameters: Iterable[Parameter], allowed: Iterable[VdiskParameter]
) -> None:
    """Take parameters into ``settings``, from left to right; raises SysfsError.

    ``allowed`` are those that the handler accepts.
    """
    takes = {setting.name: setting.take for setting in allowed}
    for parameter in parameters:
        if not parameter.name:
            raise invalid("Syntax error: parameter name expected")
        if parameter.key not in takes:
            raise invalid(f"Unknown parameter {parameter.name}")
        takes[parameter.key](settings, parameter.value())
    if settings.size % (1 << settings.block_shift):
        raise invalid(f"Device size {settings.size} is not a multiple of the block size")
