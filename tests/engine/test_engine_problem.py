"""Putting a benchmark on a device; precision and device words; seeds."""

import numpy as np
import pytest
import torch
from tiny_problem import Net, arrays, run, save_benchmark

from reprood.core.errors import ReproodError
from reprood.data.arrays import save_split
from reprood.engine.device import cpu_has_bf16, resolve_device, resolve_precision
from reprood.engine.problem import channel_statistics, load_problem
from reprood.engine.seeds import derive_seed, seeded

CPU = torch.device("cpu")


def load(root, **options):
    return load_problem({name: root / name for name in ("train", "validation", "test")}, Net, CPU, **options)


def test_images_and_statistics(tmp_path) -> None:
    root = save_benchmark(tmp_path)
    problem = load(root)
    raw = np.load(root / "train" / "images.npy")
    assert problem.train.images.dtype == torch.uint8
    np.testing.assert_array_equal(problem.train.images.permute(0, 2, 3, 1).numpy(), raw)
    assert (problem.classes, problem.channels, problem.size) == (3, 1, 16)
    np.testing.assert_allclose(problem.mean, raw.mean((0, 1, 2)) / 255, rtol=1e-12)
    np.testing.assert_allclose(problem.std, raw.std((0, 1, 2)) / 255, rtol=1e-12)
    assert set(problem.monitor) == {"validation", "test"}


def test_statistics_do_not_depend_on_the_order() -> None:
    images, _ = arrays(20, 8, 3, 2, 0)
    assert channel_statistics(images) == channel_statistics(np.ascontiguousarray(images[::-1, ::-1]))


def test_constant_channel_is_refused() -> None:
    with pytest.raises(ReproodError, match="constant"):
        channel_statistics(np.full((4, 8, 8, 1), 7, np.uint8))


def test_different_sizes_are_rejected(tmp_path) -> None:
    root = save_benchmark(tmp_path)
    images, labels = arrays(9, 12, 1, 3, 0)
    save_split(root / "test", images, labels, {}, {"name": "test", "split": "test", "classes": []})
    with pytest.raises(ReproodError, match="in the same way"):
        load(root)


def test_labels_outside_the_classes_are_rejected(tmp_path) -> None:
    root = save_benchmark(tmp_path)
    images, labels = arrays(9, 16, 1, 3, 0)
    save_split(root / "validation", images, labels - 1, {}, {"name": "v", "split": "v", "classes": []})
    with pytest.raises(ReproodError, match="expected 0 to 2"):
        load(root)


def test_missing_split_is_named(tmp_path) -> None:
    with pytest.raises(ReproodError, match="train"):
        load(tmp_path)


def test_words_for_device_and_precision() -> None:
    assert resolve_device("cpu") == CPU
    with pytest.raises(ReproodError, match="expected auto"):
        resolve_device("tpu")
    assert resolve_precision("fp32", CPU) == "fp32"
    assert resolve_precision("bf16", CPU) == "bf16"
    with pytest.raises(ReproodError, match="precision"):
        resolve_precision("fp16", CPU)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_gpu_is_said_clearly() -> None:
    assert resolve_device("auto") == CPU
    with pytest.raises(ReproodError, match="no CUDA device"):
        resolve_device("cuda")


def test_bf16_is_seen_in_the_processor_flags(tmp_path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("flags : fpu sse avx2\n")
    new.write_text("flags : fpu avx512_bf16\n")
    assert not cpu_has_bf16(old)
    assert cpu_has_bf16(new)
    assert not cpu_has_bf16(tmp_path / "absent")


def test_seeds_are_stable_and_different(tmp_path) -> None:
    assert derive_seed(0, "b", 0) == derive_seed(0, "b", 0)
    seeds = {derive_seed(s, b, k) for s in (0, 1) for b in ("b", "c") for k in range(5)}
    assert len(seeds) == 20
    assert all(0 <= seed < 2**63 for seed in seeds)
    one = run(tmp_path)
    assert one.seed("a", 1) == one.seed("a", 1) != one.seed("a", 11)
    assert one.seed("a", "1", 2) != one.seed("a", "12")
    draws = [torch.rand(3, generator=one.generator("x")) for _ in range(2)]
    assert torch.equal(*draws)


def test_seeded_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with seeded(5):
        inside = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    with seeded(5):
        assert torch.equal(torch.rand(2), inside)
