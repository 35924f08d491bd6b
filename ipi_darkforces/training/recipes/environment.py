"""Settings of the machine that make training faster. torch and glibc read them when a process starts."""

import os

_SETTINGS = {
    # Threads that wait by spinning slow each other down many times over as soon as anything else wants a core.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Training allocates and frees the same large arrays thousands of times. glibc hands each back to the kernel, which
    # clears it anew for the next; keeping them makes a step on two cores up to a third faster.
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "100000000",
}


def environment() -> dict[str, str]:
    """Environment variables of a process that trains; what the user has set stays."""
    return {**_SETTINGS, **os.environ}
