"""`scstfs status`: what runs, and what of it needs attention.

- `model`: what there is to tell; also the schema of `--json`.
- `survey`: a walk over the tree to the model, reading only what is asked for.
- `backing`: what is behind a device, without waiting for a file system that hangs.
- `problems`: what needs attention; pure.
- `status_text`: the model for people.
- `options`: the command line.
- `program`: what it does.
"""
