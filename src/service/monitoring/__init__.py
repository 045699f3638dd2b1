"""Compare what was recorded while serving with the data that the model was trained on."""
