"""Estimators and their cross-validated search."""
