"""Pools of images, archives in parts, the order of jobs, and what is not the same job."""

import dataclasses

import numpy as np
import pytest

from reprood.core.errors import ReproodError
from reprood.offload import pack, planned
from reprood.offload.archive import check, parts_of, unpack, write_archive
from reprood.offload.jobs import Done, Job, chosen, difference, job_of
from reprood.offload.pools import Pool, decode, encode
from reprood.offload.schedule import Estimates, in_order, waiting
from reprood.offload.unpacked import results_of


def job(kind: str, method: str, seed: int = 0, cost: float = 1.0) -> Job:
    return Job(kind, "bench", method, seed, (kind, "--settings", "{}"), "{}", "abc", {"train": "1", "test": "2"}, cost)


def smooth(count: int, channels: int) -> np.ndarray:
    """Images as photographs are: neighbours are alike, colours too."""
    generator = np.random.default_rng(0)
    walk = generator.normal(0, 4, (count, 16, 16, 1)).cumsum(1).cumsum(2) + generator.normal(0, 2, (1, 1, 1, channels))
    return (128 + walk).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("noisy", [False, True])
def test_a_pool_gives_back_what_it_was_given(channels, noisy) -> None:
    images = smooth(40, channels)
    if noisy:
        images = np.random.default_rng(1).integers(0, 256, images.shape, dtype=np.uint8)
    data = encode(images)
    assert data[:1] == (b"r" if noisy else b"d")
    assert noisy or len(data) < 0.8 * images.size
    assert np.array_equal(decode(data, images.shape[1:]), images)


def test_every_image_is_stored_once() -> None:
    images = smooth(10, 3)
    pool = Pool(images.shape[1:])
    first = pool.add(images)
    second = pool.add(images[[7, 3, 3]])
    assert len(pool.images) == 10
    assert second.tolist() == [7, 3, 3]
    stored = np.concatenate([decode(piece, images.shape[1:]) for piece in pool.pieces()])
    assert np.array_equal(stored[first], images)


def test_an_archive_in_parts_arrives_whole_or_not_at_all(tmp_path) -> None:
    (tmp_path / "large").write_bytes(bytes(range(256)) * 400)
    files = {"a/large": tmp_path / "large", "b": b"small"}
    paths = write_archive(tmp_path / "out" / "results.tar", files, {"format": 1}, limit=30_000)
    assert len(paths) > 3
    assert parts_of(tmp_path / "out" / "results.tar") == paths
    assert all(path.stat().st_size <= 30_000 for path in paths)
    folder = unpack(paths, tmp_path / "whole")
    assert (folder / "a" / "large").read_bytes() == (tmp_path / "large").read_bytes()
    assert check(folder)["format"] == 1

    with pytest.raises(ReproodError, match="not a whole archive"):
        unpack(paths[:2], tmp_path / "cut")
    (folder / "b").write_bytes(b"other")
    with pytest.raises(ReproodError, match="b is not the file that was packed"):
        check(folder)
    (folder / "b").unlink()
    with pytest.raises(ReproodError, match="b is missing"):
        check(folder)
    with pytest.raises(ReproodError, match="holds no results"):
        results_of(tmp_path / "whole", tmp_path)
    # fewer parts than before: none of the old ones stays
    assert write_archive(tmp_path / "out" / "results.tar", {"b": b""}, {}, limit=100_000) == paths[:1]
    assert parts_of(tmp_path / "out" / "results.tar") == paths[:1]


def test_what_makes_a_job_another_one() -> None:
    here = job("train", "erm")
    assert difference(here, dataclasses.replace(here, cost=9.0, arguments=())) == ""
    assert dataclasses.replace(here, cost=9.0, arguments=()).identity == here.identity
    assert "code has changed (fingerprint abc there, x here)" in difference(here, dataclasses.replace(here, code="x"))
    assert "settings" in difference(here, dataclasses.replace(here, settings='{"a":1}'))
    assert "split test" in difference(here, dataclasses.replace(here, data={"train": "1", "test": "3"}))
    assert "split more" in difference(here, dataclasses.replace(here, data={**here.data, "more": "3"}))
    assert job_of(here.record()) == here


@pytest.mark.parametrize(
    ("patterns", "meant"), [([], True), (["erm"], True), (["bench/*/0"], True), (["*/1"], False), (["er"], False)]
)
def test_which_runs_are_meant(patterns, meant) -> None:
    assert chosen("bench/erm/0", patterns) is meant


def test_a_prediction_waits_for_its_training() -> None:
    train, predict, alone = job("train", "erm"), job("predict", "erm"), job("predict", "cutmix")
    jobs = [train, predict, alone]
    assert waiting(jobs, {}, set()) == [train, alone]
    assert waiting(jobs, {}, {train.identity}) == [alone]
    ended = {train.identity: Done(train.identity, "done"), alone.identity: Done(alone.identity, "failed")}
    assert waiting(jobs, ended, set()) == [predict]
    assert waiting(jobs, ended, set(), retry=True) == [predict, alone]
    stopped = {train.identity: Done(train.identity, "stopped")}
    assert waiting(jobs, stopped, set()) == [train, alone]


def test_the_order_of_jobs() -> None:
    slow, quick = job("train", "slow", 0, 9.0), job("train", "quick", 1, 1.0)
    begun, predict = job("train", "begun", 2, 99.0), job("predict", "erm")
    jobs = [slow, quick, begun, predict]
    assert in_order(jobs, "shortest", {begun.identity}) == [predict, begun, quick, slow]
    assert in_order(jobs, "seeds", set()) == [predict, slow, quick, begun]
    assert in_order(jobs, "listed", set()) == [predict, slow, quick, begun]


def test_estimates_come_from_the_same_method_or_from_the_work() -> None:
    estimates = Estimates([(job("train", "erm", 0, 2.0), 10.0)])
    assert estimates.seconds(job("train", "erm", 1, 7.0)) == 10.0
    assert estimates.seconds(job("train", "cutmix", 0, 4.0)) == 20.0
    assert estimates.seconds(job("predict", "erm")) is None


class FakePlan:
    jobs = (("bench", "erm", 0),)

    class settings:
        suite = "tiny"


@pytest.mark.parametrize(
    ("rules", "patterns", "message"),
    [
        (("dataset", "split", "train"), (), "data stage is not done \\(2 of its jobs"),
        ((), (), "is trained and predicted already"),
        ((), ("cutmix",), "No run of suite 'tiny' fits cutmix; runs are named like bench/erm/0"),
    ],
)
def test_what_cannot_be_packed(monkeypatch, tmp_path, rules, patterns, message) -> None:
    monkeypatch.setattr(pack, "dry_run", lambda *_: planned.DryRun(rules, {}))
    with pytest.raises(ReproodError, match=message):
        pack.jobs_to_do(FakePlan(), tmp_path, [], patterns)  # type: ignore[arg-type]
