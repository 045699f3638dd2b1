"""Tables: the kinds of their columns, the target, and the files they are stored in."""
