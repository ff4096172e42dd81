"""A sysfs without a kernel: declarative directories over live objects, and the kernel's parsers.

This package is the mechanism (what fs/kernfs, fs/sysfs and lib/kstrtox.c are to the kernel); which
directories and attributes exist is policy and lives above, in `scstfs.tree`. Nothing here knows
SCSI, opens a file or imports an event loop.

- `errors`: `SysfsError`, the errno of a system call.
- `text`: bytes of a write(2) and of file names to `str` and back.
- `numbers`, `bitmap`: kstrtol and its relatives, bit masks.
- `mgmt`: the command language of SCST's ``mgmt`` files.
- `attr`, `directory`: the rows of the tables that describe a tree.
- `node`: such a description applied to living objects: lookup, list, read, write.
- `result`: ``last_sysfs_mgmt_res``; `refusals`: why commands were refused.
- `bulk`: all there is in a directory at once.
"""
