"""``i-pi-darkdriver``: loading the model and finding the sockets."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from dataclasses import fields, replace

from ..errors import DarkforcesError
from ..models.model import ForceModel
from ..models.registry.kinds import specified
from ..models.registry.load import load_as
from ..models.registry.specification import with_options
from ..serve.address import DEFAULT_NAME, DEFAULT_PREFIX, Address, InetAddress, UnixAddress, UnixPattern
from ..serve.driver import Driver
from ..serve.settings import Settings
from ..simulate.forcefields import SocketForcefield
from ..simulate.inputs import SimulationInput
from ..split.component import Component
from ..split.monitor import checked_limit
from ..split.split import Split
from .options import loading_of, model_of, params

log = logging.getLogger(__name__)


def serve(args: argparse.Namespace) -> int:
    """Serve as the command line says; return the exit code."""
    settings, model_name = _settings_and_model(args)
    too_far = checked_limit(args.warn_above, "--warn-above")
    if args.wait is not None and not args.wait >= 0.0:
        raise DarkforcesError(f"--wait {args.wait:g} cannot be used: expected seconds, at least 0")
    simulation = SimulationInput.read(args.input) if args.input else None
    forcefields = simulation.socket_forcefields() if simulation else []
    if simulation and not forcefields:
        raise DarkforcesError(f"'{args.input}' has no <ffsocket>: there is nothing to serve")
    prefix = args.sockets_prefix
    if prefix is None:
        prefix = simulation.sockets_prefix if simulation else DEFAULT_PREFIX
    places = _places(args, prefix, forcefields)
    model = load_as(model_name, replace(loading_of(args), remove_net_force=not args.keep_net_force))
    for each in model.models:
        each.goes_on = args.goes_on or (simulation is not None and simulation.step > 0)
    _check(settings, simulation, model)
    if args.ready is not None:
        _announce(args.ready)
    split = Split(model)
    try:
        driver = Driver(split, places, settings, args.stay, args.wait, too_far, one_simulation=simulation is not None)
        return 0 if driver.serve() else 1
    finally:
        for each in model.models:
            log.info(
                "model '%s': %d requests answered with %d forward and %d backward passes",
                each.name,
                split.answered,
                each.passes.forward,
                each.passes.backward,
            )


def _check(settings: Settings, simulation: SimulationInput | None, model: ForceModel) -> None:
    """Raise errors now for what cannot work, and not when i-PI comes."""
    if settings.component is not None:
        Component.named(settings.component).check(model)
    species = settings.elements()
    if species is not None:
        model.check_species(species)
    if simulation is None:
        return
    for forcefield in simulation.socket_forcefields():
        wanted = forcefield.settings
        template = simulation.folder / (wanted.template or "")
        if template.is_file():  # beside the input: it may not be where we are, until i-PI is
            wanted = replace(wanted, template=str(template))
        simulation.virials.check(model, settings.completed(wanted).resolved(model).component)


def _announce(descriptor: int) -> None:
    try:
        os.write(descriptor, b"ready\n")
        os.close(descriptor)
    except OSError as error:
        raise DarkforcesError(f"--ready {descriptor} cannot be written to: {error.strerror}") from error


def _settings_and_model(args: argparse.Namespace) -> tuple[Settings, str]:
    """Settings of clients, and the model; -o has a part of both."""
    model = model_of(args, {})
    settings, options = Settings.separated(params(args), specified(model).takes, "-o")
    long = {f.name: value for f in fields(Settings) if (value := getattr(args, f.name, None)) is not None}
    return Settings.parsed(long, "the options").completed(settings), with_options(model, options)


def _places(
    args: argparse.Namespace, prefix: str, forcefields: Sequence[SocketForcefield]
) -> list[Address | UnixPattern]:
    if forcefields:
        if args.unix or args.shm or args.address or args.port:
            raise DarkforcesError("--input says where i-PI listens; expected none of -u, -a, -p and --shm beside it")
        return [f.place(prefix) for f in forcefields]
    unix = args.unix or args.shm
    if args.port is not None and (unix or not 0 < args.port < 65536):
        raise DarkforcesError(
            f"port {args.port} is not used: " + ("unix sockets have none" if unix else "it must be 1 to 65535")
        )
    if not args.address and (unix or args.port is None):
        return [UnixPattern(prefix + DEFAULT_NAME, args.shm)]
    names = args.address or ["localhost"]
    if unix:
        return [UnixAddress(prefix + name, args.shm) for name in names]
    return [InetAddress(name, args.port or 12345) for name in names]
