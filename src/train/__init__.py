"""Estimators, preprocessing and the cross-validated search."""
