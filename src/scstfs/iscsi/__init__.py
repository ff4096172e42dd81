"""The iSCSI protocol (RFC 7143, RFC 7144) and iSNS (RFC 4171) without sockets, clocks or SCSI.

Bytes, the time and randomness come in as arguments; bytes and plain records go out. CDBs, LUNs and
sense data pass through as opaque bytes.
"""
