"""Readers: what simulations left behind, in ps, Å, eV and K, whoever wrote the files."""
