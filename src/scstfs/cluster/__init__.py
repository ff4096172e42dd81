"""Several nodes that serve the same units: what must be the same on all of them is in etcd.

`keys`, `record`, `replica` and `steps` are pure: they know what is kept, and decide what a node
does next.  `etcd` is the client; `node`, `lease` and `item` do what was decided; `units` and
`groups` connect the core's objects.  docs/cluster.md describes the protocol.
"""
