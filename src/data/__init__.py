"""Tables: column kinds, the target, and files."""
