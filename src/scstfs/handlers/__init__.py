"""Dev handlers: they execute commands on files, block devices, no data, images of CDs, and SCSI
devices of this machine.
"""
