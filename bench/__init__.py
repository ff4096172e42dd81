"""Benchmarks of scstfs against tgt, the other iSCSI target in user space: `make bench`."""
