"""scstadmin: SCST's management program, its command line, output and exit statuses.

It behaves as that of SCST 3.10 does, so that scripts that run it and programs that read its output
need not know the difference; where Perl goes through a hash in any order, names are in theirs.

- `options`: the command line. `usage`: what -help prints.
- `errors`: its numbers and words for what was refused.
- `tree_lookup`: what is in the tree, and its words where there is nothing.
- `mgmt_commands`: what is written to the tree, one row for each command.
- `attribute_rules`: attributes that are set, one row for each kind of object.
- `lists`: the options that only look.
- `changes`: the options that change one thing.
- `config_check`, `configure`, `configure_groups`, `clear`: the options about all of it; `present`
  helps them.
- `program`: all of it together.
"""
