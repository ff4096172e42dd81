"""The configuration of the target at its start, and its recording while it runs.

- `nodes`: the tree of this process, as `scstfs.admin` reads it.
- `load`: executes a configuration file, or the recorded commands, on the tree: the same commands as
  from outside, by the same tables, but not through FUSE.
- `keep`: writes every change of the configuration to the state directory before it is acknowledged.
"""
