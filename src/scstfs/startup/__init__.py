"""What the target is configured to when it starts, and what is kept of it while it runs.

- `nodes`: the tree of this process as `scstfs.admin` reads it.
- `load`: a configuration file, or what was kept, executed on the tree: the same commands as from
  outside, by the same tables, but not through FUSE.
- `keep`: every change of the configuration goes to the state directory before it is acknowledged.
"""
