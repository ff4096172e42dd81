"""The whole tree, with the parts of all drivers and handlers. A new one is a line here."""

from __future__ import annotations

from typing import Any, Final

from scstfs.drivers import copy_manager_rows, scst_local_rows
from scstfs.drivers.iscsi.rows import driver as iscsi_rows
from scstfs.handlers import passthrough_rows, vdisk_mgmt, vdisk_rows
from scstfs.handlers.vdisk_handler import VdiskHandler
from scstfs.sysfs.directory import DirType
from scstfs.tree.handlers import Handler, handler_type
from scstfs.tree.root import Layout


def _rows_of_handler(directory: Handler) -> DirType[Any]:
    is_virtual = isinstance(directory.handler, VdiskHandler)
    return vdisk_mgmt.ROWS if is_virtual else passthrough_rows.ROWS


LAYOUT: Final = Layout(
    drivers={
        "copy_manager": (
            copy_manager_rows.DRIVER,
            "copies between devices, without a transport",
        ),
        "iscsi": (iscsi_rows.DRIVER, "iSCSI"),
        "scst_local": (scst_local_rows.DRIVER, "sessions inside this process"),
    },
    handler=handler_type(_rows_of_handler, (vdisk_mgmt.ROWS, passthrough_rows.ROWS)),
    devices={**vdisk_rows.ROWS, **passthrough_rows.DEVICES},
)
