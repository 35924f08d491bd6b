"""A short version of `benchmarks/faults.py`: a few kills, and some thousand messages with something wrong in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from injection import by_hand, runs, streams
from injection.records import Records
from injection.report import ROUNDING

STEPS = 800  # so many that a fast machine does not finish them before the last kill
STATES = 100  # steps between the states that are kept, should the newest checkpoint be cut
# The driver, i-PI and the parent are killed a few steps after they go on.
SEED = 123552


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "records.jsonl", "test")


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_is_not(records: Records, tmp_path: Path) -> None:
    whole = runs.reference(tmp_path / "whole", STEPS)
    runs.chain(records, whole, SEED, lambda: True, STEPS, kills=3)
    kills = records.of("runs")
    assert [record["kill"].partition(":")[0] for record in kills] == ["driver", "i-PI", "parent"]
    for record in kills:
        assert record["sent"], record
        assert record["lost"] <= STATES, record
        assert (record["left"], record["traceback"], record["refused"]) == ([], False, ""), record
    (end,) = records.of("ends")
    assert end["difference"] is not None, end
    assert end["difference"] <= ROUNDING
    assert (end["left"], end["scratch"]) == ([], [])


def test_a_driver_that_stays_outlives_every_simulation(records: Records) -> None:
    by_hand.simulations(records, 1, lambda: len(records.of("simulations")) < 3)
    assert len(records.of("simulations")) == 3
    assert all(record["served"] and record["lives"] for record in records.of("simulations"))


def test_the_decoder_says_what_is_wrong_and_nothing_else_happens() -> None:
    found = streams.to_the_decoder(20_000, 1, lambda n: None)
    assert set(found["endings"]) == {"refused", "nothing was noticed"}
    assert sum(found["endings"].values()) == 1000


def test_a_driver_serves_a_good_client_beside_mutated_streams(records: Records) -> None:
    streams.to_a_driver(records, 10_000, 1, lambda n: None)
    (record,) = records.of("streams")
    assert (record["ended"], record["traceback"]) == (False, False), record
    assert record["streams"] >= 25
    assert record["refused"] > 10
    assert record["answers"] > 0
    assert record["difference"] < 1e-12
