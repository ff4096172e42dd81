"""`scstfs exporter`: metrics for Prometheus, and a page that shows what the target does.

It is a process of its own and a client of the tree, so it serves the kernel's SCST as well, and the
event loop that serves initiators neither renders nor sends anything. Nothing can be changed
through it.
"""
