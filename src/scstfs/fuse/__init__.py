"""The tree as a FUSE file system: the only package, beside the daemon, that knows pyfuse3."""
