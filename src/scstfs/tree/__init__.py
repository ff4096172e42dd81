"""SCST's directory layout: which entries there are, and what reading and writing them means.

Each kind of directory is a tuple of rows over the core's objects; `scstfs.sysfs` is the mechanism.
A management command checks everything in SCST's order and with SCST's errnos, then changes
everything, and waits for running commands last. What is a driver's or a handler's own stands with
these, and `scstfs.layout` puts all together.
"""
