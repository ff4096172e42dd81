"""The driver as a client of an iSNS server (RFC 4171): registration and access control."""
