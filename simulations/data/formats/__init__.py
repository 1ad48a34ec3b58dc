"""Bytes of files to columns, one module a format.

Strict, because a row that was read wrongly trains a model wrongly: what does not fit is an error with its place and the
flag that would help, never a guess. Cells come as the file has them: text in CSV, where an empty cell is "", typed
values elsewhere.
"""
