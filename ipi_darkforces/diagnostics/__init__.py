"""What is wrong with a model, before it runs: how far its forces are from the reference, and from each other."""
