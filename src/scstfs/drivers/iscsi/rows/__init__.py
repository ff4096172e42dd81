"""``targets/iscsi/``: the iSCSI driver, as SCST's kernel module and its daemon show it."""
