"""Many simulations as one piece of work: which ones, running them, and what they say together."""
