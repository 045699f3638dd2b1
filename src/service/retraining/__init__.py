"""Train again with new labelled rows, and promote the model if it passes the gate."""
