"""The tracking server: start it, add its users, and copy the runs of a clone to it."""
