"""Structures in, energies and forces out: the models, and the one interface to them."""
