"""Names of attributes that SCST documents, to recognise misspelt ones.

They are used only to find mistakes in files if the tree has no example of such an item; otherwise
the tree has the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from scstfs.admin.kinds import DEVICE, GROUP, GROUP_TARGET, LUN, TARGET, TARGET_GROUP, Kind

SEVERAL: Final = ("IncomingUser", "OutgoingUser", "allowed_portal", "session_name")
"""Attributes of which there may be several instances."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_DEVICE: Final = """
active async bind_alua_state blocksize cluster_mode dif_filename dif_mode dif_static_app_tag
dif_type dummy eui64_id expl_alua filename inq_vend_specific lb_per_pb_exp max_tgt_dev_commands
naa_id numa_node_id nv_cache o_direct opt_trans_len pr_file_name prod_id prod_rev_lvl read_only
read_zero removable rotational scsi_device_name size size_mb t10_dev_id t10_vend_id
thin_provisioned threads_num threads_pool_type tst usn vend_specific_id write_through zero_copy
"""
_TARGET: Final = """
DataDigest FirstBurstLength HeaderDigest ImmediateData InitialR2T MaxBurstLength MaxOutstandingR2T
MaxRecvDataSegmentLength MaxSessions MaxXmitDataSegmentLength NopInInterval NopInTimeout
QueuedCommands RDMAExtensions RspTimeout addr_method aen_disabled alias black_hole comment cpu_mask
enabled forward_dst forward_src forwarding io_grouping_type per_portal_acl
per_sess_dedicated_tgt_threads phys_transport_version redirect rel_tgt_id scsi_transport_version
session_name
"""
_GROUP: Final = "addr_method black_hole cpu_mask io_grouping_type per_sess_dedicated_tgt_threads"

NAMES: Final[Mapping[Kind, tuple[str, ...]]] = {
    DEVICE: _words(_DEVICE),
    TARGET: _words(_TARGET),
    GROUP: _words(_GROUP),
    LUN: ("read_only",),
    TARGET_GROUP: ("group_id", "preferred", "state"),
    GROUP_TARGET: ("rel_tgt_id",),
}
