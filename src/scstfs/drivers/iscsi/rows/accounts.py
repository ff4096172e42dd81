"""Numbered attributes of the iSCSI driver and its targets: users, portals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from scstfs.drivers.iscsi import iscsi_mgmt
from scstfs.drivers.iscsi.accounts import AttributeFile
from scstfs.drivers.iscsi.config import IscsiDriver, IscsiTarget
from scstfs.drivers.iscsi.rows.answers import daemon_value, words_of
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.directory import EachAttr


def _show_user(file: AttributeFile) -> str:
    entry = file.entry()
    # The daemon's printf shows a missing secret so; only a write can remove the secret.
    return f"{entry.key} {entry.value or '(null)'}"


def _show_portal(file: AttributeFile) -> str:
    return file.entry().key


def _replace(file: AttributeFile, data: bytes) -> None:
    words = words_of(data)
    file.replace(words.take(), words.take())


def _numbered(
    name: str, mode: int, show: Callable[[AttributeFile], str], reads: str, accepts: str
) -> Attr[AttributeFile, bytes]:
    return Attr(
        name=name,
        mode=mode,
        show=show,
        key=lambda file: True,
        render=daemon_value,
        parse=bytes,
        store=_replace,
        numbered=True,
        parameter=name != iscsi_mgmt.ALLOWED_PORTAL,
        since="2.0",
        reads=reads,
        accepts=accepts,
        refuses="EEXIST: another instance has this name; EINVAL (also on reading): the instance "
        "was replaced",
        key_when="always",
        effect="from the next login on",
    )


_ROWS: Final = {
    iscsi_mgmt.INCOMING_USER: _numbered(
        iscsi_mgmt.INCOMING_USER,
        0o600,
        _show_user,
        "name and secret of a user that may log in",
        "name and secret",
    ),
    iscsi_mgmt.OUTGOING_USER: _numbered(
        iscsi_mgmt.OUTGOING_USER,
        0o600,
        _show_user,
        "name and secret with which the target authenticates to initiators that ask for it",
        "name and secret",
    ),
    iscsi_mgmt.ALLOWED_PORTAL: _numbered(
        iscsi_mgmt.ALLOWED_PORTAL,
        0o644,
        _show_portal,
        "a pattern of addresses at which the target is available",
        "a pattern",
    ),
}


def instances(name: str) -> EachAttr[Any, AttributeFile]:
    """The files of one numbered attribute of the driver or of a target."""

    def entries(obj: IscsiDriver | IscsiTarget) -> dict[str, AttributeFile]:
        return obj.accounts.files_of(obj.accounts.of_kind(name))

    def find(obj: IscsiDriver | IscsiTarget, file_name: str) -> AttributeFile | None:
        file = obj.accounts.files.get(file_name)
        return file if file is None or file.entries is obj.accounts.of_kind(name) else None

    return EachAttr(
        children=entries,
        follows=lambda obj: obj.accounts.files,
        get=find,
        attr=_ROWS[name],
        label=f"{name}N",
    )
