"""Steady excess of temperature of a system that is heated, under each thermostat of `simulate.compose`.

A thermostat takes out what heating puts in when the kinetic energy is high enough. Per degree of freedom, with
k_B ΔT/2 of excess kinetic energy:

- Langevin, momenta decay with 1/τ, kinetic energy with 2/τ: P = k_B ΔT/τ (H. Risken, The Fokker-Planck Equation,
  Springer (1989), section 10.1);
- SVR, the kinetic energy of all relaxes with 1/τ: P = k_B ΔT/(2 τ) (G. Bussi, D. Donadio and M. Parrinello,
  J. Chem. Phys. 126, 014101 (2007), equation 7);
- GLE, the friction at the frequency ω of a motion is Re K(ω): P = k_B ΔT ⟨Re K(ω)⟩, averaged over the spectrum of the
  velocities (M. Ceriotti, G. Bussi and M. Parrinello, J. Chem. Theory Comput. 6, 1170 (2010), equations 6 to 9).

In terms of r = P/k_B, the drift in K/ps that the heating is without a thermostat where all motions are harmonic
(half of P heats kinetic energy, half potential: k_B per degree of freedom), ΔT is r τ, 2 r τ and r/⟨Re K⟩. For
Langevin and SVR that is exact for the mean over all atoms, wherever the heat goes first. For the GLE motions must
exchange energy faster than it is taken out.
"""

from __future__ import annotations

import numpy as np


def excess_times(tau: float, gle_friction: float) -> dict[str, float]:
    """Excess of temperature over the heating without a thermostat (K over K/ps), ps, by the name of the ensemble.

    :param tau: time constant of Langevin and SVR, ps
    :param gle_friction: of the GLE, see `mean_friction`, 1/ps
    """
    return {"langevin": tau, "svr": 2.0 * tau, "gle": 1.0 / gle_friction}


def mean_friction(matrix: np.ndarray, velocities: np.ndarray, masses: np.ndarray, interval: float) -> float:
    """Friction of a GLE, averaged over the spectrum of the kinetic energy.

    :param matrix: its drift matrix A, first the momentum, then the auxiliary ones, 1/ps, shape (n + 1, n + 1)
    :param velocities: shape (n_frames, n_atoms, 3)
    :param masses: shape (n_atoms,)
    :param interval: between frames, ps
    :return: 1/ps
    """
    window = np.hanning(len(velocities))[:, None, None]
    amplitudes = np.fft.rfft(window * velocities, axis=0)
    spectrum = (np.abs(amplitudes) ** 2 * masses[:, None]).sum(axis=(1, 2))
    omega = 2.0 * np.pi * np.fft.rfftfreq(len(velocities), interval)
    return float(spectrum @ friction(matrix, omega) / spectrum.sum())


def friction(matrix: np.ndarray, omega: np.ndarray) -> np.ndarray:
    """Re K(ω) = a_pp - Re a_pᵀ (A + iω)⁻¹ ā_p of a GLE with the drift matrix ((a_pp, a_pᵀ), (ā_p, A)).

    :param matrix: shape (n + 1, n + 1), in 1/time
    :param omega: angular frequencies, shape (m,)
    :return: shape (m,)
    """
    inner = matrix[1:, 1:] + 1j * omega[:, None, None] * np.eye(len(matrix) - 1)
    memory = np.linalg.solve(inner, np.broadcast_to(matrix[1:, :1], (len(omega), len(matrix) - 1, 1)))
    return matrix[0, 0] - (matrix[0, 1:] @ memory)[:, 0].real
