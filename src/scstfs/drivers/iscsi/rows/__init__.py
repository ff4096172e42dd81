"""``targets/iscsi/``: what SCST's kernel module and its daemon show of the iSCSI driver."""
