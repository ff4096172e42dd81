"""Several nodes that serve the same units: what must be the same on all of them is in etcd.

`etcd_keys`, `record`, `replica` and `next_step` are pure: they know what is kept, and decide what a
node does next.  `etcd` is the client; `cluster_node`, `lease` and `item` do what was decided;
`unit_side` and `group_side` connect the core's objects.  docs/cluster.md describes the protocol.
"""
