"""SCSI as T10 defines it, without a transport: SPC-4, SBC-3, and the part of MMC that a CD-ROM
needs.

It decodes command descriptor blocks and parameter lists, and builds data and sense data. It is
pure: no files, sockets, clocks or threads, and it knows nothing of iSCSI, sysfs or FUSE. Upper
layers execute commands (I/O, the state of reservations, sessions) and call it.
"""
