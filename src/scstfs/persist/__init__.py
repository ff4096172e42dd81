"""What survives a restart: persistent reservations and mode pages in SCST's own files, and the
running configuration.

Codecs are pure; ``durable_files`` is the only module that writes below the state directory.
"""
