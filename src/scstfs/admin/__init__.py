"""Management: a client of the tree that knows SysfsRules and nothing of the target behind it.

Nothing here imports the rest of scstfs, so all of it manages the kernel's SCST as well.

- `syntax`: the text of scst.conf to statements and back; pure.
- `kinds`: what there is in a configuration, where it is in the tree and which commands make it.
- `configuration`: items with attributes, from a file or from the tree.
- `conf`: statements to a configuration and back; pure.
- `files`: the system calls, each as rarely as possible.
- `tree`: a walk by SysfsRules to a configuration.
- `display`: text for people, on a terminal and elsewhere.
- `status`: what runs, and what of it needs attention.
- `top`: what it does at the moment.
- `scstadmin`: SCST's program of that name, its command line and its output.
"""
