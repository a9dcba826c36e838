"""Files: untrusted ones read within bounds, ours written atomically, one writer at a time."""
