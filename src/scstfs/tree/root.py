"""The root of the tree: ``/sys/kernel/scst_tgt`` itself."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from scstfs import __version__
from scstfs.core.scst import Scst
from scstfs.core.target import TargetDriver
from scstfs.core.waiting import settled
from scstfs.sysfs.attr import Attr, optional_line, raw
from scstfs.sysfs.directory import DirType, Sub
from scstfs.sysfs.errors import SysfsError, invalid
from scstfs.sysfs.node import Tree
from scstfs.sysfs.numbers import in_range, kstrtol, kstrtoul
from scstfs.sysfs.result import ManagementResult
from scstfs.sysfs.text import chomp, encode
from scstfs.sysfs.values import any_nonzero, flag, int32, uint32
from scstfs.tree import measurements, trace
from scstfs.tree.core_errors import translate
from scstfs.tree.device_groups import DEVICE_GROUPS
from scstfs.tree.devices import devices_type
from scstfs.tree.handlers import Handler, Handlers, handlers_type
from scstfs.tree.sgv import SGV, Sgv, pools

INTERFACE_VERSION: Final = "3.10.0"
"""The version of SCST whose interface this is."""

_DEFAULT_MAX_TASKLET_CMD: Final = 10
_LONGEST_CLUSTER_NAME: Final = 63
_MOST_THREADS: Final = 0x7FFFFFFF


@dataclass(frozen=True, slots=True)
class Version:
    """What ``version`` shows of this build and this machine."""

    build: str = f"scstfs {__version__}"
    kernel: str = os.uname().release
    architecture: str = os.uname().machine


@dataclass(frozen=True, slots=True, eq=False)
class Root:
    """The root directory's object."""

    scst: Scst
    result: ManagementResult
    version: Version
    handlers: Handlers
    sgv: Sgv


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The parts of the tree that drivers and handlers add.

    Attributes:
        drivers: the directories of drivers, by name, each with its description.
        handler: the directory of a handler.
        devices: the rows that a handler's devices have besides those of all devices, by the
            handler's name.
    """

    drivers: Mapping[str, tuple[DirType[Any], str]]
    handler: DirType[Handler]
    devices: Mapping[str, DirType[Any]]

    def build(
        self, scst: Scst, result: ManagementResult | None = None, version: Version | None = None
    ) -> Tree:
        """The tree of *scst*; queued commands leave *result* in ``last_sysfs_mgmt_res``."""
        result = ManagementResult() if result is None else result
        version = Version() if version is None else version
        root = Root(scst, result, version, Handlers(scst, self.handler), Sgv(pools(scst)))
        return Tree(self.root(), root, result, translate)

    def root(self) -> DirType[Root]:
        """The type of the root directory."""
        return DirType(
            "root",
            (
                *_ATTRIBUTES,
                Sub(
                    name="targets",
                    dirtype=self._targets(),
                    of=lambda root: root.scst,
                    about="target drivers",
                ),
                Sub(
                    name="devices",
                    dirtype=devices_type(self.devices),
                    of=lambda root: root.scst,
                    about="what can be exported",
                ),
                Sub(
                    name="sgv", dirtype=SGV, of=lambda root: root.sgv, about="pools of data buffers"
                ),
                Sub(
                    name="handlers",
                    dirtype=handlers_type(self.handler),
                    of=lambda root: root.handlers,
                    about="where devices come from",
                ),
                Sub(
                    name="device_groups",
                    dirtype=DEVICE_GROUPS,
                    of=lambda root: root.scst,
                    about="asymmetric access (ALUA): targets that lead to devices, their states",
                ),
            ),
            {name: partial(_extended, show) for name, show in measurements.TARGET.items()},
        )

    def _targets(self) -> DirType[Scst]:
        return DirType(
            "targets",
            tuple(
                Sub(name=name, dirtype=dirtype, of=partial(_driver, name), about=about)
                for name, (dirtype, about) in self.drivers.items()
            ),
        )


def _extended(show: Callable[[Scst], str], root: Root) -> str:
    return show(root.scst)


def _driver(name: str, scst: Scst) -> TargetDriver | None:
    return scst.drivers.get(name)


def _version_text(root: Root) -> str:
    version = root.version
    return (
        f"SCST version: {INTERFACE_VERSION}\n"
        f"SCST build date: \n"
        f"SCST build number: {version.build}\n"
        f"SCST git commit sha1: \n"
        f"SCST kver: {version.kernel}\n"
        f"SCST arch type: {version.architecture}\n"
        "SCST config: TRACING"
    )


# Settings


def _set_threads(root: Root, number: int) -> None:
    root.scst.env.threads.resize(number)


def _set_setup_id(root: Root, value: int) -> None:
    root.scst.setup_id = uint32(value)


def _set_max_tasklet_cmd(root: Root, value: int) -> None:
    root.scst.max_tasklet_cmd = int32(value)


def _set_poll_us(root: Root, value: int) -> None:
    # SCST keeps nanoseconds in 64 bits.
    root.scst.poll_us = value * 1000 % (1 << 64) // 1000


def _set_measure_latency(root: Root, value: bool) -> None:
    scst = root.scst
    if value is not scst.env.measure_latency:
        scst.env.measure_latency = value
        for session in scst.sessions():
            session.latency.clear()


def _set_force_global_sgv_pool(root: Root, value: bool) -> None:
    root.scst.force_global_sgv_pool = value


def _parse_cluster_name(data: bytes) -> str:
    name = chomp(data)
    if len(encode(name)) > _LONGEST_CLUSTER_NAME:
        raise invalid(f"Cluster name {name} is too long")
    return name


def _cluster_status(root: Root) -> str:
    cluster = root.scst.cluster
    return "" if cluster is None else "\n".join(cluster.describe())


def _set_cluster_name(root: Root, name: str) -> None:
    root.scst.cluster_name = name


async def _suspend(root: Root, seconds: int) -> None:
    activity = root.scst.env.activity
    if seconds < 0:
        activity.resume()
        return
    activity.suspend()
    if activity.count > 1:
        return
    limit = seconds or _UNLIMITED
    if not await settled(activity.when_idle, limit):
        activity.resume()
        raise SysfsError(errno.EBUSY, "Commands do not end")


# Nothing waits for ever: this is longer than any user would wait.
_UNLIMITED: Final = 3600.0


_ATTRIBUTES: Final[tuple[Attr[Root, Any], ...]] = (
    Attr(
        name="measure_latency",
        mode=0o644,
        show=lambda root: flag(root.scst.env.measure_latency),
        parse=lambda data: kstrtol(data) != 0,
        store=_set_measure_latency,
        since="3.3",
        reads="1 while latencies are measured, else 0",
        accepts="0, or another number for 1",
        refuses="EINVAL: anything else",
        effect="the files in the sessions' latency/ start from zero",
    ),
    Attr(
        name="threads",
        mode=0o644,
        show=lambda root: str(root.scst.env.threads.size),
        key=lambda root: root.scst.env.threads.size != root.scst.env.default_threads,
        # SCST takes any number above 0, but makes no threads for some beyond an int.
        parse=in_range(kstrtol, 1, _MOST_THREADS),
        store=_set_threads,
        queued=True,
        since="2.0",
        reads="worker threads for the I/O of devices without their own",
        accepts=f"1 to {_MOST_THREADS}",
        refuses="EINVAL: anything else",
        key_when="not the number of CPUs",
        effect="threads are made when they are first needed",
    ),
    Attr(
        name="setup_id",
        mode=0o644,
        show=lambda root: f"0x{root.scst.setup_id:x}",
        key=lambda root: root.scst.setup_id != 0,
        parse=kstrtoul,
        store=_set_setup_id,
        since="2.0",
        reads="what distinguishes this target's devices from those of the same names elsewhere",
        accepts="a number",
        refuses="EINVAL: anything else",
        key_when="not 0",
        effect="used in the identifiers of devices that are added from now on",
    ),
    Attr(
        name="max_tasklet_cmd",
        mode=0o644,
        show=lambda root: str(root.scst.max_tasklet_cmd),
        key=lambda root: root.scst.max_tasklet_cmd != _DEFAULT_MAX_TASKLET_CMD,
        parse=kstrtoul,
        store=_set_max_tasklet_cmd,
        since="2.1",
        reads="a number",
        accepts="a number",
        refuses="EINVAL: anything else",
        key_when="not 10",
        effect="none: there are no tasklets here",
    ),
    Attr(
        name="poll_us",
        mode=0o644,
        show=lambda root: str(root.scst.poll_us),
        key=lambda root: root.scst.poll_us != 0,
        parse=kstrtoul,
        store=_set_poll_us,
        since="3.2",
        reads="how long (us) an idle connection looks for requests before it sleeps",
        accepts="a number",
        refuses="EINVAL: anything else",
        key_when="not 0",
        effect="less latency for more use of a CPU",
    ),
    Attr(
        name="suspend",
        mode=0o644,
        show=lambda root: str(root.scst.env.activity.count),
        parse=kstrtol,
        store=_suspend,
        since="3.1",
        reads="how many times the execution of commands is suspended",
        accepts="0 or more: suspend once more, and wait so many seconds (0: as long as it takes) "
        "for running commands; a negative number: undo one",
        refuses="EINVAL: anything else; EBUSY: commands do not end in time",
        effect="commands wait while execution is suspended",
    ),
    trace.trace_level(lambda root: root.scst.env.trace),
    Attr(
        name="force_global_sgv_pool",
        mode=0o644,
        show=lambda root: flag(root.scst.force_global_sgv_pool),
        key=lambda root: root.scst.force_global_sgv_pool,
        parse=any_nonzero,
        store=_set_force_global_sgv_pool,
        since="3.3",
        reads="1 or 0",
        accepts="0, or another number for 1",
        refuses="EINVAL: anything else",
        key_when="1",
        effect="none: there is one pool of buffers only",
    ),
    Attr(
        name="trace_cmds",
        mode=0o444,
        show=lambda root: trace.commands(root.scst),
        render=raw,
        since="3.0",
        reads="a line for each command under way",
    ),
    Attr(
        name="trace_mcmds",
        mode=0o444,
        show=lambda root: trace.management(root.scst),
        render=raw,
        since="3.0",
        reads="a line for each task management function under way",
    ),
    Attr(
        name="version",
        mode=0o444,
        show=_version_text,
        since="2.0",
        reads="the version of SCST that this interface belongs to, and of the serving program",
    ),
    Attr(
        name="last_sysfs_mgmt_res",
        mode=0o444,
        show=lambda root: root.result.show(),
        since="2.0",
        reads="0 or the negative errno of the last queued command; EAGAIN while one is executed",
    ),
    Attr(
        name="cluster_name",
        mode=0o644,
        show=lambda root: root.scst.cluster_name,
        key=lambda root: bool(root.scst.cluster_name),
        render=optional_line,
        parse=_parse_cluster_name,
        binary=True,
        store=_set_cluster_name,
        since="3.8",
        reads="the name of the cluster; nothing at all without one",
        accepts="at most 63 bytes; a newline alone removes it",
        refuses="EINVAL: a longer name",
        key_when="set",
        effect="devices in cluster mode share their reservations with the nodes of this cluster; "
        "none without `scstfs mount --etcd`",
    ),
    Attr(
        name="cluster_status",
        mode=0o444,
        show=_cluster_status,
        visible=lambda root: root.scst.cluster is not None,
        reads="only with `scstfs mount --etcd`: this node, the others, their target ports and the "
        "units that they share, a line each",
    ),
)
