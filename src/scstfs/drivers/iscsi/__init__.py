"""The iSCSI target driver: configuration, sessions, sockets (the protocol is ``scstfs.iscsi``)."""
