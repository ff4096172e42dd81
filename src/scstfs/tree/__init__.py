"""SCST's directory layout: its entries, and the effects of reading and writing them.

Each kind of directory is a tuple of rows over the core's objects; `scstfs.sysfs` is the mechanism.
A management command makes all checks in SCST's order and with SCST's errnos, then all changes, and
waits for running commands last. Rows that only one driver or handler has are in its package;
`scstfs.layout` puts all together.
"""
