"""SCST's core: devices, targets, access control, sessions and command execution.

Knows SCSI, but no transport and no file system: drivers and handlers plug in from above.
"""
