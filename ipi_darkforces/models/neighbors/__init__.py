"""Pairs of neighbours: searches, and Verlet lists that follow moving atoms."""
