"""The driver as a client of an iSNS server (RFC 4171): who we are, and who may come to us."""
