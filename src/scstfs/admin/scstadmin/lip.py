"""Loop initialization: tells a Fibre Channel fabric of a change."""

from __future__ import annotations

import os
from typing import Final

from scstfs.admin import kinds
from scstfs.admin.scstadmin.actions import Actions, names
from scstfs.admin.scstadmin.errors import Code, Unavailable

HOST: Final = "host"
_BELOW: Final = ("fc_host:", "fc_host/")
"""Where a host's Fibre Channel attributes are below its device, in old and in new kernels."""


def issue_lip(actions: Actions, driver: str = "", target: str = "", *, warns: bool = False) -> int:
    """Issue a LIP for a target, or for all; *warns*: print a message about those without a host."""
    if driver and target:
        return _issue(actions, driver, target, warns)
    for one in actions.library.drivers():
        for name in actions.library.targets(one):
            ended = _issue(actions, one, name, warns)
            if ended:
                return ended
    return Code.DONE


def _issue(actions: Actions, driver: str, target: str, warns: bool) -> int:
    out = actions.terminal.out
    try:
        found = actions.library.attributes(kinds.TARGET, names(driver=driver, target=target))
    except Unavailable:
        found = {}
    host = found[HOST].value if HOST in found else None
    if host is None and warns:
        out(f"\t-> Driver/target '{driver}/{target}' has no 'host' attribute, ignoring.\n")
        return Code.DONE
    device = actions.library.files.path(f"targets/{driver}/{target}/host/device")
    where = next((p for b in _BELOW if os.path.isdir(p := f"{device}/{b}{host}")), None)
    if host is None or where is None:
        out("\t-> Driver/target is not a fibre channel target, ignoring.\n")
        return Code.DONE
    lip = f"{where}/issue_lip"
    if not os.access(lip, os.W_OK):
        out(
            f"Fibre channel driver/target '{driver}/{target}' lacks the ability to "
            "issue LIPs, ignoring.\n"
        )
        return Code.DONE
    out(f"\t-> Issuing LIP on fibre channel driver/target '{driver}/{target}' ({host}): ")
    try:
        fd = os.open(lip, os.O_WRONLY)
        try:
            written = os.write(fd, b"1")
        finally:
            os.close(fd)
    except OSError:
        written = 0
    out("done.\n")
    if not written:
        out(f"WARNING: Failed to issue LIP on driver/target '{driver}/{target}'.\n")
        return Code.FAILED
    return Code.DONE
