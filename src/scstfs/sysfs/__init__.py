"""A sysfs without a kernel: declarative directories over live objects, and the kernel's parsers.

This package is the mechanism (like fs/kernfs, fs/sysfs and lib/kstrtox.c in the kernel); the
directories and attributes are defined above, in `scstfs.tree`. Nothing here knows SCSI, opens a
file or imports an event loop.

- `errors`: `SysfsError`, the errno of a system call.
- `text`: bytes of a write(2) and of file names to `str` and back.
- `numbers`, `bitmap`: kstrtol and similar functions, bit masks.
- `mgmt`: the command language of SCST's ``mgmt`` files.
- `attr`, `directory`: the rows of the tables that describe a tree.
- `node`: such a description applied to living objects: lookup, list, read, write.
- `result`: ``last_sysfs_mgmt_res``; `refusals`: the reasons of refusals.
- `bulk`: all entries of a directory at once.
"""
