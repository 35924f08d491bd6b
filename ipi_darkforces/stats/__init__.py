"""Estimates with error bars that account for time correlation."""
