"""PET models by an implementation of our own: packed sequences on CPUs, fixed shapes on GPUs."""
