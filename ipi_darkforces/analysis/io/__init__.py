"""Readers of the files of simulations, of i-PI and other programs, in ps, Å, eV and K."""
