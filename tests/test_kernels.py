"""The kernels that determine last bits: they are named, pinned while a trial trains, and restored afterwards."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mnist_core.errors import KernelsError
from mnist_core.kernels import kernels_in_use, training_kernels, training_with

has_avx2 = pytest.mark.skipif("NumPy AVX2" not in kernels_in_use(), reason="a CPU without AVX2 is not pinned")


def run(script: str, **environment: str) -> list[str]:
    """Run a script in a fresh interpreter; return the lines that it prints."""
    command = [sys.executable, "-c", script]
    env = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@has_avx2
def test_kernels_are_pinned_inside_the_context_only() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, 300, 300), dtype=np.float32)
    before, native = kernels_in_use(), left @ right
    with training_with("pinned") as pinned:
        assert " Haswell, NumPy AVX2" in pinned == kernels_in_use()
        product = left @ right
        with training_with("pinned") as nested:
            assert nested == pinned
        assert kernels_in_use() == pinned
    assert kernels_in_use() == before
    assert (left @ right).tobytes() == native.tobytes()
    with training_with("pinned"):
        assert (left @ right).tobytes() == product.tobytes()


def test_native_numerics_leave_the_kernels_as_they_are() -> None:
    before = kernels_in_use()
    with training_with("native") as native:
        assert native == before == kernels_in_use()
    assert training_kernels("native") == before


@has_avx2
@pytest.mark.parametrize("core", ["SkylakeX", "Haswell", "Zen", "Sandybridge"])
def test_openblas_is_switched_whatever_it_was_loaded_with(core: str) -> None:
    script = """
import os, numpy
from mnist_core.kernels import kernels_in_use, training_kernels
before = kernels_in_use()
print(training_kernels())
print(before == kernels_in_use(), os.environ["OPENBLAS_CORETYPE"])
"""
    assert run(script, OPENBLAS_CORETYPE=core) == [training_kernels(), f"True {core}"]


LOOPS = "X86_V3 X86_V4 AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"


@pytest.mark.medium
@has_avx2
@pytest.mark.parametrize("module", ["mnist_core.kernels", "jobs.api", "mnistjobs"])
def test_numpy_keeps_the_loops_that_the_environment_disables(module: str) -> None:
    script = f"""
import os, {module}
from mnist_core.kernels import training_kernels
print(training_kernels())
print(os.environ["NPY_DISABLE_CPU_FEATURES"])
"""
    assert run(script, NPY_DISABLE_CPU_FEATURES=LOOPS) == [training_kernels(), LOOPS]


@pytest.mark.medium
@has_avx2
def test_numpy_imported_before_without_its_loops_is_refused(tmp_path: Path) -> None:
    grid = tmp_path / "grid.yaml"
    axes = "grid: {model: [mlp], subset_size: [20], adaptive_lr: [false], seed: [0]}"
    grid.write_text(f"name: refused\ndataset: digits\n{axes}\ntrain: {{epochs: 1}}\n")
    script = f"""
import warnings
with warnings.catch_warnings(action="ignore"):  # each version of NumPy knows some of the names only
    import numpy
from mnist_core.errors import KernelsError
from mnist_core.kernels import training_kernels
print(training_kernels("native").partition(", ")[2])
try:
    training_kernels()
except KernelsError as error:
    print(error)
import mnistjobs
try:
    mnistjobs.submit_grid({str(grid)!r}, {str(tmp_path / "results")!r}, in_process=True)
except KernelsError as error:
    print(error)
"""
    native, refusal, again = run(script, NPY_DISABLE_CPU_FEATURES=LOOPS)
    assert native == "NumPy baseline"
    assert refusal == (
        f"NumPy was imported with NPY_DISABLE_CPU_FEATURES='{LOOPS}', which gives other results than AVX2; "
        "allowed: without the variable, or imported after mnistjobs"
    )
    assert again == refusal
    assert not (tmp_path / "results").exists()


@has_avx2
def test_an_openblas_without_the_kernels_is_refused_and_left_as_it_was() -> None:
    from mnist_core import kernels

    blas, before = kernels._openblas(), kernels_in_use()
    assert blas is not None
    with pytest.raises(KernelsError, match="has none for A64FX to switch to; allowed: an OpenBLAS built with"):
        blas.switch("A64FX")
    assert kernels_in_use() == before
