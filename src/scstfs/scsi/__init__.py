"""SCSI as T10 defines it, without a transport: SPC-4, SBC-3 and the little of MMC a CD-ROM needs.

Decodes command descriptor blocks and parameter lists, builds data and sense data.  Pure: no files,
sockets, clocks or threads; it never hears of iSCSI, sysfs or FUSE.  Executing commands (I/O, the
state of reservations, sessions) is done above and calls in here.
"""
