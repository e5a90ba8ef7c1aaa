"""The local backend: the same archive, runtime, record and ladder, in subprocesses."""
