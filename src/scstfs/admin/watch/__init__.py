"""`scstfs watch`: what happens, one line for each event.

scstfs tells its events (`scstfs.admin.observations`). The kernel's SCST does not, so the tree is
compared with what it was: that shows sessions, targets, devices and LUNs that come and go, and
media that are changed.
"""
