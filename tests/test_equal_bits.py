"""One trial id, one set of bits: whatever the environment says, on a worker or in process, and on other CPUs."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from itertools import cycle, product
from pathlib import Path

import pytest
from support.idx_files import write_idx_folder

import mnistjobs
from jobs.store import Job
from mnist_core.kernels import kernels_in_use, training_kernels

GRID = """\
name: bits
dataset: {path: images}
grid: {model: [mlp, cnn], numerics: [pinned, native], subset_size: [48], adaptive_lr: [true], seed: [7]}
train: {epochs: 2, batch_size: 16, learning_rate: 0.003, momentum: 0.5, hidden_units: 16}
"""
DIVERGING = GRID.replace("0.003", "1.0e+38").replace("name: bits", "name: diverging")
LOOPS = "X86_V3 X86_V4 AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"
VARIABLES = {
    "OPENBLAS_CORETYPE": ("", "SkylakeX", "Haswell", "Zen"),
    "MKL_CBWR": ("", "COMPATIBLE", "AVX2"),
    "ATEN_CPU_CAPABILITY": ("", "default", "avx2", "avx512"),
    "NPY_DISABLE_CPU_FEATURES": ("", LOOPS),
}
THREADS = ("", "1", "4")  # of OMP_NUM_THREADS, OPENBLAS_NUM_THREADS and MKL_NUM_THREADS
SUBMIT = """
import sys, mnistjobs
for name in ("bits", "diverging"):
    mnistjobs.submit_grid(f"{name}.yaml", sys.argv[1], in_process=True)
"""
Bits = dict[tuple[str, str, str], str]  # by job, model and numerics

pytestmark = pytest.mark.skipif("NumPy AVX2" not in kernels_in_use(), reason="a CPU without AVX2 is not pinned")
has_avx512 = pytest.mark.skipif("SkylakeX" not in kernels_in_use(), reason="this CPU has pinned kernels by itself")


def environment(*values: str, threads: str = "") -> dict[str, str]:
    """Return this process's environment with the VARIABLES set to these values, or unset where a value is empty."""
    chosen = dict(zip(VARIABLES, values, strict=True))
    chosen |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    kept = {name: value for name, value in os.environ.items() if name not in chosen}
    return {**kept, **{name: value for name, value in chosen.items() if value}}


def bits(store: Path) -> Bits:
    """Return a digest of everything that a store's trials computed, and check which kernels they name."""
    found = {}
    for job in mnistjobs.list_jobs(store):
        assert isinstance(job, Job)
        metrics = mnistjobs.read_metrics(store, job.job_id).drop_columns(["epoch_seconds"]).to_pylist()
        for row in mnistjobs.read_trials(store, job.job_id).to_pylist():
            if row["numerics"] == "pinned":
                assert row["kernels"] == training_kernels()
            records = [each for each in metrics if each["trial_id"] == row["trial_id"]]
            digest = hashlib.sha256(repr([records, row["status"], row["test_loss"], row["test_accuracy"]]).encode())
            for name, value in sorted(mnistjobs.read_weights(store, row["trial_id"]).items()):
                digest.update(name.encode() + value.tobytes())
            found[job.name, row["model"], row["numerics"]] = digest.hexdigest()
    return found


def pinned(found: Bits) -> Bits:
    return {key: digest for key, digest in found.items() if key[2] == "pinned"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bits")
    write_idx_folder(made / "images", train_count=72, test_count=20)
    (made / "bits.yaml").write_text(GRID)
    (made / "diverging.yaml").write_text(DIVERGING)
    return made


@pytest.fixture(scope="module")
def here(folder: Path) -> Bits:
    """What this process computes, with the kernels that it happens to have loaded."""
    for grid in ("bits.yaml", "diverging.yaml"):
        mnistjobs.submit_grid(folder / grid, folder / "here", in_process=True)
    assert "diverged" in mnistjobs.read_trials(folder / "here", "diverging")["status"].to_pylist()
    return bits(folder / "here")


def submit(folder: Path, store: str, env: dict[str, str]) -> Bits:
    """Train in a fresh interpreter with this environment."""
    command = [sys.executable, "-W", "ignore", "-c", SUBMIT, store]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return bits(folder / store)


@has_avx512
def test_native_bits_differ_from_pinned_ones(here: Bits) -> None:
    assert len({digest for (job, _, _), digest in here.items() if job == "bits"}) == 4


@pytest.mark.medium
def test_the_environment_changes_no_bit(here: Bits, folder: Path) -> None:
    found = submit(folder, "elsewhere", environment("Zen", "COMPATIBLE", "default", LOOPS, threads="4"))
    assert len(pinned(found)) == 4
    assert pinned(found) == pinned(here)


@pytest.mark.ray
@pytest.mark.slow
def test_workers_of_ray_compute_the_same_bits(here: Bits, folder: Path) -> None:
    env = environment("Haswell", "COMPATIBLE", "default", LOOPS, threads="4")
    command = [sys.executable, "-m", "mnistjobs", "submit", "bits.yaml", "--store", "on-ray", "--workers", "1"]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    on_ray = pinned(bits(folder / "on-ray"))
    assert len(on_ray) == 2
    assert on_ray.items() <= here.items()
    found = mnistjobs.verify_job(folder / "on-ray", "bits", rerun=4)
    # The native trials were trained with Haswell kernels, and are trained again with those of this process.
    assert (found.rerun, found.problems) == (4, ())


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_no_combination_of_variables_changes_a_bit(here: Bits, folder: Path) -> None:
    threads = cycle(THREADS)
    has_skylakex = "SkylakeX" in kernels_in_use()
    for number, values in enumerate(product(*VARIABLES.values())):
        if values[0] != "SkylakeX" or has_skylakex:
            found = submit(folder, f"product-{number}", environment(*values, threads=next(threads)))
            assert pinned(found) == pinned(here), values


TRAIN = """
import hashlib, sys
from mnist_core.data import load_dataset
from mnist_core.training import train
from mnist_core.trial import Trial

trial = Trial(
    model=sys.argv[1], subset_size=48, adaptive_lr=True, seed=7, epochs=2, batch_size=16, learning_rate=0.003,
    momentum=0.5,
)
*_, result = train([trial], load_dataset("digits"))
digest = hashlib.sha256(repr([vars(epoch) | {"seconds": 0} for epoch in result.epochs]).encode())
for name, value in sorted(result.weights.items()):
    digest.update(value.tobytes())
print(digest.hexdigest(), result.kernels)
"""


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="qemu-x86_64 is not installed (Debian: qemu-user)")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the kernels of this machine are not those of x86-64")
@pytest.mark.parametrize("cpu", ["Haswell-noTSX", "EPYC"])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_other_cpus_compute_the_same_bits(model: str, cpu: str) -> None:
    """Emulated CPUs without AVX-512, of two makers; a CNN takes minutes, most of them to import torch."""
    expected, found = (
        subprocess.run([*emulator, sys.executable, "-c", TRAIN, model], capture_output=True, text=True, timeout=1800)
        for emulator in ((), ("qemu-x86_64", "-cpu", cpu))
    )
    assert (expected.returncode, found.returncode) == (0, 0), expected.stderr + found.stderr
    assert found.stdout == expected.stdout
