"""Fast and slow forces from one evaluation, and the monitor of their difference."""
