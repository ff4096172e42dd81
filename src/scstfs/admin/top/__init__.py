"""`scstfs top`: rates, queue depths and latencies while it runs.

- `rates`: counters, and what two readings of them say; pure.
- `report`: rows for sessions, LUNs, devices and targets; pure.
- `kept`: attributes that are read again and again.
- `session_watch`: the sessions of a tree, looked at from time to time.
- `top_text`: a report for people.
- `screen`: a terminal that shows report after report.
- `options`: the command line.
- `program`: what it does.
"""
