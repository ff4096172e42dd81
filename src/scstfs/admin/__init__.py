"""Management: a client of the tree that knows SysfsRules and nothing of the target behind it.

Nothing here imports the rest of scstfs, so all of it manages the kernel's SCST as well.

- `syntax`: the text of scst.conf to statements and back; pure.
- `kinds`: the kinds of things in a configuration, their places in the tree and their commands.
- `configuration`: items with attributes, from a file or from the tree.
- `conf`: statements to a configuration and back; pure.
- `files`: the system calls, as few as possible.
- `tree`: a walk by SysfsRules to a configuration.
- `display`: text for users, on a terminal and elsewhere.
- `status`: the running configuration, and problems in it.
- `top`: its present activity.
- `scstadmin`: SCST's program of that name, its command line and its output.
"""
