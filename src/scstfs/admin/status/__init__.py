"""`scstfs status`: the running configuration, and problems in it.

- `model`: the data; also the schema of `--json`.
- `survey`: a walk over the tree to the model, reading only what is requested.
- `backing`: checks of backing files, without waiting for a file system that hangs.
- `problems`: finds problems; pure.
- `status_text`: the model as text.
- `options`: the command line.
- `program`: the main function.
"""
