"""Campaigns of many simulations: their matrix, running them, and their results."""
