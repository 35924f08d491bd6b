"""Simulations: the inner loop, and molecular dynamics in ase."""
