"""Simulations with i-PI: inputs, folders, runs; the inner loop, and molecular dynamics in ase."""
