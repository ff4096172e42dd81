"""scstadmin: SCST's management program, its command line, output and exit statuses.

It behaves as the one of SCST 3.10, so scripts that run it and programs that read its output work
with both. Where Perl iterates a hash in any order, names are sorted here.

- `options`: the command line. `usage`: what -help prints.
- `errors`: its codes and texts for refusals.
- `tree_lookup`: look-ups in the tree, and its texts for missing objects.
- `mgmt_commands`: what is written to the tree, one row for each command.
- `attribute_rules`: attributes that are set, one row for each kind of object.
- `lists`: the options that only list.
- `changes`: the options that change one thing.
- `config_check`, `configure`, `configure_groups`, `clear`: the options for whole configurations;
  `present` helps them.
- `program`: the main function.
"""
