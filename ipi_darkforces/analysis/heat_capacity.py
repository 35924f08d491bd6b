"""The drift of the temperature that a drift of the energy is, by the heat capacity of classical vibrations.

That is 3 k_B for each atom that moves (Dulong and Petit), half of it kinetic and half potential. A conserved quantity
fluctuates much less than the temperature, so that this is known much earlier than the slope of the latter.
"""

from __future__ import annotations

from ..stats.estimates import Estimate
from .io.units import BOLTZMANN_EV

_MEV_PER_KELVIN = 3000.0 * BOLTZMANN_EV


def temperature_drift(power: Estimate, moving: float = 1.0) -> Estimate:
    """K/ps.

    :param power: meV/atom/ps, of all atoms
    :param moving: part of the coordinates that are not fixed
    """
    return power.times(1.0 / (_MEV_PER_KELVIN * moving))
