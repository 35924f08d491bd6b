"""Results of the paper for liquid water at 300 K with its own models (Bigi, Langer, Ceriotti, ICML 2025)."""

from __future__ import annotations

from ..stats.estimates import Estimate

# K/ps, NVE with direct forces (PET-NC; section 4.4). Conservative forces and MTS up to a stride of 8 do not drift.
HEATING = 7.0
LARGEST_STABLE_STRIDE = 8  # appendix H, figure 11

# K above 300 K, for all atoms, and of those of O and H, by thermostat and forces (PET, PET-NC, PET-M; tables 2 and 7).
EXCESS = {
    ("langevin10", "conservative"): {"all": Estimate(0.1, 0.1)},
    ("langevin10", "direct"): {"all": Estimate(0.1, 0.1), "H": Estimate(0.0, 0.1), "O": Estimate(0.2, 0.1)},
    ("langevin100", "conservative"): {"all": Estimate(0.1, 0.2), "H": Estimate(0.0, 0.2), "O": Estimate(0.3, 0.3)},
    ("langevin100", "direct"): {"all": Estimate(1.4, 0.2), "H": Estimate(1.3, 0.2), "O": Estimate(1.6, 0.3)},
    ("langevin1000", "conservative"): {"all": Estimate(0.3, 0.7)},
    ("langevin1000", "direct"): {"all": Estimate(12.8, 0.5), "H": Estimate(11.2, 0.7), "O": Estimate(16.2, 0.5)},
    ("svr10", "conservative"): {"all": Estimate(0.1, 0.1), "H": Estimate(-0.4, 0.3), "O": Estimate(1.0, 0.7)},
    ("svr10", "direct"): {"all": Estimate(0.3, 0.1), "H": Estimate(-4.4, 0.3), "O": Estimate(9.9, 0.6)},
    ("svr10", "mts8"): {"all": Estimate(0.0, 0.1), "H": Estimate(-0.1, 0.4), "O": Estimate(0.1, 0.9)},
}

# By how much Langevin thermostats slow down diffusion, "about" (section 4.6).
SLOWED = {"langevin100": 1.5, "langevin10": 5.0}

# ms per step of 0.5 fs of 192 atoms, on an H100 (table 4 and section 4.8).
MILLISECONDS = {"conservative": 19.4, "direct": 8.58, "mts8": 10.3}

# Structure, figures 8 and 12: with direct forces it differs significantly from that of conservative ones, with MTS up
# to a stride of 8 it does not.
