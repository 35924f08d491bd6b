"""What a trajectory says, with error bars that account for time correlation."""
