"""Tables: where rows come from, what is computed from them, how they are stored."""
