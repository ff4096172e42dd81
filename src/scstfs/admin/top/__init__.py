"""`scstfs top`: rates, queue depths and latencies of a running target.

- `rates`: counters, and rates from two readings; pure.
- `report`: rows for sessions, LUNs, devices and targets; pure.
- `kept`: attributes that are read repeatedly.
- `session_watch`: the sessions of a tree, read periodically.
- `top_text`: a report as text.
- `live`: a terminal that shows report after report.
- `options`: the command line.
- `program`: the main function.
"""
