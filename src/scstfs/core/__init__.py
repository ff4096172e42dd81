"""SCST's core: devices, targets, access control, sessions and command execution.

It knows SCSI, but no transport and no file system: drivers and handlers plug in from above.
"""
