"""Parameters of ``add_device``: one table of what they are called, take and mean.

SCST keeps flags in one-bit fields, so that a number is cut to its lowest bit: ``read_only=2`` is
accepted and means 0.  That is kept, because configurations that say so exist.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from scstfs.handlers.protection import Mode, parse_mode
from scstfs.sysfs.errors import invalid
from scstfs.sysfs.mgmt import Parameter
from scstfs.sysfs.numbers import kstrtoll, kstrtoull
from scstfs.sysfs.text import encode

MIN_BLOCK_SHIFT: Final = 9
NULLIO_SIZE: Final = 5 << 39
DEFAULT_OPT_TRANS_LEN: Final = 512 * 1024
T10_DEV_ID_LENGTH: Final = 25
NO_NUMA_NODE: Final = -1


@dataclass(slots=True)
class Settings:
    """What a virtual device is created with."""

    filename: str | None = None
    block_shift: int = MIN_BLOCK_SHIFT
    read_only: bool = False
    write_through: bool = False
    nv_cache: bool = False
    o_direct: bool = False
    asynchronous: bool = False
    removable: bool = False
    rotational: bool = True
    #: None unless it was asked for.
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


_Setter = Callable[[Settings, str], None]


def _flag(field: str) -> _Setter:
    """A one-bit field."""

    def put(settings: Settings, text: str) -> None:
        setattr(settings, field, bool(_unsigned(text) & 1))

    return put


def _choice(field: str, kind: type[int]) -> _Setter:
    """0 or 1 and nothing else."""

    def put(settings: Settings, text: str) -> None:
        value = _unsigned(text)
        if value > 1:
            raise invalid(f"Invalid value {value} of {field}")
        setattr(settings, field, kind(value))

    return put


def _any_nonzero(field: str) -> _Setter:
    def put(settings: Settings, text: str) -> None:
        setattr(settings, field, bool(_unsigned(text)))

    return put


def _unsigned(text: str) -> int:
    data = encode(text)
    kstrtoll(data)
    return kstrtoull(data)


def _filename(settings: Settings, text: str) -> None:
    if settings.filename is not None:
        raise invalid("filename specified more than once")
    if not text.startswith("/"):
        raise invalid(f"Filename {text} must be global")
    settings.filename = text


def _t10_dev_id(settings: Settings, text: str) -> None:
    if len(encode(text)) > T10_DEV_ID_LENGTH:
        raise invalid(f"T10 device id is too long (max {T10_DEV_ID_LENGTH} characters)")
    settings.t10_dev_id = text


def _numa_node_id(settings: Settings, text: str) -> None:
    # An int in SCST: what does not fit is cut to 32 bits.
    value = (kstrtoll(encode(text)) + (1 << 31)) % (1 << 32) - (1 << 31)
    if value < NO_NUMA_NODE:
        raise invalid(f"Invalid NUMA node {value}")
    settings.numa_node_id = value


def _block_size(settings: Settings, text: str) -> None:
    # An int in SCST; cut down to a power of two, and 0 means the default.
    value = _unsigned(text) & 0xFFFFFFFF
    shift = value.bit_length() - 1 if value else MIN_BLOCK_SHIFT
    if shift < MIN_BLOCK_SHIFT:
        raise invalid(f"blocksize {value} too small")
    settings.block_shift = shift


def _size(unit: int) -> _Setter:
    def put(settings: Settings, text: str) -> None:
        settings.size = _unsigned(text) * unit % (1 << 64)

    return put


def _dif_filename(settings: Settings, text: str) -> None:
    if not text.startswith("/"):
        raise invalid(f"DIF filename {text} must be global")
    settings.dif_filename = text


def _dif_mode(settings: Settings, text: str) -> None:
    settings.dif_mode |= parse_mode(text)


def _dif_type(settings: Settings, text: str) -> None:
    # An int in SCST, where its range is checked once the device is attached.
    settings.dif_type = (_unsigned(text) + (1 << 31)) % (1 << 32) - (1 << 31)


def _dif_static_app_tag(settings: Settings, text: str) -> None:
    settings.dif_static_app_tag = _unsigned(text)


#: In the order of the handlers' usage texts.
PARAMETERS: Final[dict[str, _Setter]] = {
    "active": _flag("active"),
    "async": _any_nonzero("asynchronous"),
    "bind_alua_state": _flag("bind_alua_state"),
    "blocksize": _block_size,
    "cluster_mode": _flag("cluster_mode"),
    "dif_filename": _dif_filename,
    "dif_mode": _dif_mode,
    "dif_static_app_tag": _dif_static_app_tag,
    "dif_type": _dif_type,
    "dummy": _choice("dummy", bool),
    "filename": _filename,
    "numa_node_id": _numa_node_id,
    "nv_cache": _flag("nv_cache"),
    "o_direct": _flag("o_direct"),
    "read_only": _flag("read_only"),
    "removable": _flag("removable"),
    "rotational": _flag("rotational"),
    "size": _size(1),
    "size_mb": _size(1 << 20),
    "thin_provisioned": _flag("thin_provisioned"),
    "tst": _choice("tst", int),
    "t10_dev_id": _t10_dev_id,
    "write_through": _flag("write_through"),
    "lb_per_pb_exp": _flag("lb_per_pb_exp"),
}


def apply(settings: Settings, parameters: Iterable[Parameter], allowed: Collection[str]) -> None:
    """Take parameters into ``settings``, from left to right; raises SysfsError.

    ``allowed`` are the names (lower case) that the handler takes.
    """
    for parameter in parameters:
        if not parameter.name:
            raise invalid("Syntax error: parameter name expected")
        if parameter.key not in allowed:
            raise invalid(f"Unknown parameter {parameter.name}")
        PARAMETERS[parameter.key](settings, parameter.value())
    if settings.size % (1 << settings.block_shift):
        raise invalid(f"Device size {settings.size} is not a multiple of the block size")
