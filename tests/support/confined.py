"""Runs a program as systemd would under a unit, as far as that can be done without systemd.

``python -m tests.support.confined UNIT COMMAND...`` executes COMMAND with the unit's bounding set
of capabilities, no_new_privs, system call filter (by libseccomp, as systemd does), address
families, namespaces and, if it needs one, a mount namespace like that of the unit. A system call
that the filter does not allow ends the process, so that none goes unnoticed; systemd is told to let
it fail.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path
from typing import Any, Final

import cffi

from scstfs import capabilities
from scstfs.mounts import MountFlag, mount
from tests.support.namespace import MS_SLAVE, unshare

UNITS: Final = Path(__file__).parents[2] / "contrib" / "systemd"

# linux/capability.h
CAPABILITIES: Final = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SETPCAP": 8,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_SYS_RAWIO": 17,
    "CAP_SYS_ADMIN": 21,
}
FAMILIES: Final = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}

_PR_SET_MDWE = 65
_PR_MDWE_REFUSE_EXEC_GAIN = 1

# libseccomp: seccomp.h
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_EQUAL, _MASKED_EQUAL = 4, 7
_NEW_NAMESPACES = 0x7E020080  # all CLONE_NEW*
_HEADER = """
typedef void *scmp_filter_ctx;
struct scmp_arg_cmp { unsigned int arg; int op; uint64_t datum_a; uint64_t datum_b; };
scmp_filter_ctx seccomp_init(uint32_t action);
int seccomp_syscall_resolve_name(const char *name);
int seccomp_rule_add_array(scmp_filter_ctx ctx, uint32_t action, int syscall, unsigned int count,
                           const struct scmp_arg_cmp *args);
int seccomp_load(scmp_filter_ctx ctx);
"""


def service(unit: str) -> dict[str, list[str]]:
    """The settings of a unit's section Service; each setting may be made several times."""
    found: dict[str, list[str]] = {}
    parser = RawConfigParser(strict=False, dict_type=_Lines)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keep the case of keys
    parser.read(UNITS / unit)
    for key, value in parser["Service"].items():
        found[key] = value.split("\n")
    return found


class _Lines(dict[str, Any]):
    """Collects the values of a key that is set several times; configparser keeps the last one."""

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, list) and isinstance(self.get(key), list):
            value = [*self[key], *value]
        super().__setitem__(key, value)


def allowed_calls(lines: list[str]) -> set[str]:
    """The system calls that the lines of SystemCallFilter allow, the first of which allows."""
    allowed: set[str] = set()
    for line in lines:
        forbids = line.startswith("~")
        calls = {call for word in line.removeprefix("~").split() for call in _expanded(word)}
        allowed = allowed - calls if forbids else allowed | calls
    return allowed | set(_expanded("@default"))


@functools.cache
def _sets() -> dict[str, list[str]]:
    """The calls, and other sets, of each set of systemd."""
    sets: dict[str, list[str]] = {}
    lines = subprocess.run(
        ["systemd-analyze", "syscall-filter"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    members: list[str] = []
    for line in lines:
        if line.startswith("@"):
            members = sets[line] = []
        elif line.startswith(" ") and not line.lstrip().startswith("#"):
            members.append(line.strip())
    return sets


def _expanded(word: str) -> list[str]:
    if not word.startswith("@"):
        return [word]
    return [call for member in _sets()[word] for call in _expanded(member)]


def _install_filter(settings: dict[str, list[str]]) -> None:
    ffi = cffi.FFI()
    ffi.cdef(_HEADER)
    library = ffi.dlopen("libseccomp.so.2")
    context = library.seccomp_init(_KILL_PROCESS)

    def rule(action: int, call: str, *comparisons: tuple[int, int, int, int]) -> None:
        number = library.seccomp_syscall_resolve_name(call.encode())
        if number < 0:  # of another architecture
            return
        arguments = ffi.new("struct scmp_arg_cmp[]", list(comparisons))
        failed = library.seccomp_rule_add_array(
            context, action, number, len(comparisons), arguments
        )
        assert failed == 0, (call, failed)

    allowed = allowed_calls(settings["SystemCallFilter"])
    if settings.get("RestrictNamespaces") == ["yes"]:
        allowed -= {"setns", "unshare", "clone", "clone3"}
        rule(_ALLOW, "clone", (0, _MASKED_EQUAL, _NEW_NAMESPACES, 0))
        rule(_ERRNO | errno.ENOSYS, "clone3")  # its flags cannot be seen: the C library takes clone
    families = settings.get("RestrictAddressFamilies", [""])[0].split()
    if families:
        allowed -= {"socket"}
        for family in families:
            rule(_ALLOW, "socket", (0, _EQUAL, FAMILIES[family], 0))
    for call in sorted(allowed):
        rule(_ALLOW, call)
    assert library.seccomp_load(context) == 0


def _enter_namespace(settings: dict[str, list[str]]) -> None:
    if settings.get("PrivateMounts") != ["yes"]:
        return
    unshare(MS_SLAVE)
    read_only = MountFlag.REMOUNT | MountFlag.BIND | MountFlag.RDONLY
    if settings.get("ProtectSystem") == ["full"]:
        for path in filter(os.path.isdir, ("/usr", "/boot", "/etc")):
            mount(path, path, "", MountFlag.BIND | MountFlag.REC)
            mount("", path, "", read_only)
    if settings.get("ProtectKernelTunables") == ["yes"]:
        mount("/proc/sys", "/proc/sys", "", MountFlag.BIND)
        mount("", "/proc/sys", "", read_only)
        mount("", "/sys", "", read_only | MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC)
    if settings.get("ProcSubset") == ["pid"]:
        mount("proc", "/proc", "proc", MountFlag.NONE, "subset=pid,hidepid=invisible")


def confine(unit: str) -> None:
    """Confine this process."""
    settings = service(unit)
    _enter_namespace(settings)
    names = " ".join(settings["CapabilityBoundingSet"]).split()
    kept = [CAPABILITIES[name] for name in names]
    capabilities.limit_programs(kept)  # type: ignore[arg-type]  # more than the program knows
    if settings["NoNewPrivileges"] == ["yes"]:
        capabilities.forbid_more()
    os.umask(int(settings["UMask"][0], 8))
    if settings.get("MemoryDenyWriteExecute") == ["yes"]:
        # EINVAL before Linux 6.3.
        ctypes.CDLL(None).prctl(_PR_SET_MDWE, ctypes.c_ulong(_PR_MDWE_REFUSE_EXEC_GAIN), 0, 0, 0)
    _install_filter(settings)


if __name__ == "__main__":
    confine(sys.argv[1])
    os.execvp(sys.argv[2], sys.argv[2:])
