"""A thin binding to libsgutils2 of sg3_utils: names of commands and errors, SCSI pass-through.

The library is loaded when something first needs it, and nothing here is needed to serve: without
it names are numbers, and pass-through says what is missing.
"""
