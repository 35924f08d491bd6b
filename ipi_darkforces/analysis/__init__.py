"""Analyses of trajectories, with error bars that account for time correlation."""
