"""A thin binding to libsgutils2 of sg3_utils: names of commands and errors, SCSI pass-through.

The library is loaded when first needed. The target can serve without it: then names are numbers,
and pass-through reports that it is missing.
"""
