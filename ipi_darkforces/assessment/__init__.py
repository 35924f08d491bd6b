"""Assessment of one model for one system: the forces with which it is safe to run."""
