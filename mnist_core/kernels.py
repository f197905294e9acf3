"""The kernels that determine the last bits of a trial on the CPU: name them, and pin them while a trial trains.

The order in which a matrix product is summed depends on the kernels that OpenBLAS chooses for the CPU; the results of
NumPy's exp, log and tanh depend on whether their loops have AVX2 and its fused multiplication and addition (their
AVX-512 loops give the same bits). Trials therefore train with OpenBLAS's Haswell kernels and NumPy's AVX2 loops,
which every x86-64 CPU with AVX2 can run. Everything else in the backends is exact or rounded operation by operation.
CPUs without AVX2, and other architectures, train with kernels of their own. `kernels_in_use` names what is used.

Only the standard library is imported here, NumPy where it is needed: `load_numpy` has to run before that.
"""

import ctypes
import os
import platform
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from mnist_core.devices import gpu_name
from mnist_core.errors import KernelsError
from mnist_core.trial import Numerics

PINNED_CORE = "Haswell"
_NUMPY_VARIABLE = "NPY_DISABLE_CPU_FEATURES"
_OPENBLAS_VARIABLE = "OPENBLAS_CORETYPE"
_AVX2 = re.compile(r"AVX2|AVX512|X86_V[34]")  # the names of NumPy's targets that have AVX2
_ROUNDED_LOOPS = "^(exp|log|tanh)$"
# As NumPy's wheels name OpenBLAS's functions, and as others do.
_AFFIXES = (("scipy_", "64_"), ("scipy_", ""), ("", "64_"), ("", ""))
_switching = threading.RLock()  # OpenBLAS has one set of kernels for the whole process


def load_numpy() -> None:
    """Import NumPy with all its loops for this CPU, whatever the value of NPY_DISABLE_CPU_FEATURES.

    NumPy reads the variable once, when it is imported. Where it is not set, there is nothing to do.
    """
    if _NUMPY_VARIABLE not in os.environ or "numpy" in sys.modules:
        return
    disabled = os.environ.pop(_NUMPY_VARIABLE)
    try:
        import numpy as np  # noqa: F401
    finally:
        os.environ[_NUMPY_VARIABLE] = disabled


def kernels_in_use() -> str:
    """Name the kernels that this process computes with now, such as "OpenBLAS 0.3.31 Haswell, NumPy AVX2"."""
    blas = _openblas()
    return f"{f'OpenBLAS {blas.version} {blas.core}' if blas else _blas_name()}, NumPy {_numpy_loops()}"


def training_kernels(numerics: Numerics = "pinned", device: Literal["cpu", "cuda"] = "cpu") -> str:
    """Name the kernels that a trial would train with in this process; `training_with` has the arguments and errors."""
    with training_with(numerics, device) as kernels:
        return kernels


@contextmanager
def training_with(numerics: Numerics, device: Literal["cpu", "cuda"] = "cpu") -> Iterator[str]:
    """Pin the kernels inside the context, and restore them afterwards.

    The kernels are those of the whole process: no other thread may multiply matrices meanwhile.

    Args:
        numerics: `pinned`, or `native` to leave the kernels as they are.
        device: Where the trial trains. On a GPU the kernels are its own.

    Yields:
        The names of the kernels, as `kernels_in_use` returns them.

    Raises:
        KernelsError: The kernels cannot be pinned in this process.
    """
    if device == "cuda":
        yield f"CUDA {gpu_name()}"
        return
    with _switching:
        blas = _openblas_to_pin() if numerics == "pinned" else None
        before = blas.core if blas else ""
        if blas is None or before == PINNED_CORE:
            yield kernels_in_use()
            return
        blas.switch(PINNED_CORE)
        try:
            yield kernels_in_use()
        finally:
            blas.switch(before)


def _openblas_to_pin() -> "_OpenBLAS | None":
    """Return the OpenBLAS whose kernels are to be pinned; None where the CPU has no AVX2; raise KernelsError."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return None
    if _numpy_loops() != "AVX2":
        if _NUMPY_VARIABLE not in os.environ:
            return None
        value = os.environ[_NUMPY_VARIABLE]
        raise KernelsError(
            f"NumPy was imported with {_NUMPY_VARIABLE}={value!r}, which gives other results than AVX2; "
            "allowed: without the variable, or imported after mnistjobs"
        )
    if (blas := _openblas()) is None:
        raise KernelsError(f"NumPy multiplies matrices with {_blas_name()}; allowed: OpenBLAS, as in NumPy's wheels")
    return blas


@dataclass(frozen=True)
class _OpenBLAS:
    """The OpenBLAS that NumPy is linked with."""

    library: ctypes.CDLL
    affixes: tuple[str, str]
    tables: dict[str, int | None] = field(default_factory=dict)  # by core: the address of its table of kernels

    @property
    def version(self) -> str:
        """The version, without the options that it was built with."""
        return self._text("config").split()[1]

    @property
    def core(self) -> str:
        """The kind of CPU whose kernels are in use."""
        return self._text("corename")

    def switch(self, core: str) -> None:
        """Use the kernels for another kind of CPU; raise KernelsError where this build has none to choose from."""
        try:
            chosen = ctypes.c_void_p.in_dll(self.library, "gotoblas")
            before = chosen.value
            if core not in self.tables:
                self.tables[self.core] = before
                self._initialize(core)
                self.tables[core] = chosen.value
            chosen.value = self.tables[core]
        except (AttributeError, ValueError):  # no such function or variable
            self._fail(core)
        if self.core != core:
            chosen.value = before
            self._fail(core)

    def _initialize(self, core: str) -> None:
        """Let OpenBLAS choose its kernels again, this time for another kind of CPU."""
        forget, choose = self.library.gotoblas_dynamic_quit, self.library.gotoblas_dynamic_init
        before = os.environ.get(_OPENBLAS_VARIABLE)
        os.environ[_OPENBLAS_VARIABLE] = core
        try:
            forget()
            choose()
        finally:
            del os.environ[_OPENBLAS_VARIABLE]
            if before is not None:
                os.environ[_OPENBLAS_VARIABLE] = before

    def _text(self, what: str) -> str:
        prefix, suffix = self.affixes
        function = getattr(self.library, f"{prefix}openblas_get_{what}{suffix}")
        function.restype = ctypes.c_char_p
        return str(function().decode())

    def _fail(self, core: str) -> None:
        raise KernelsError(
            f"OpenBLAS {self.version} computes with its {self.core} kernels and has none for {core} to switch to; "
            "allowed: an OpenBLAS built with DYNAMIC_ARCH, as in NumPy's wheels"
        )


@cache
def _openblas() -> _OpenBLAS | None:
    """Find the OpenBLAS that NumPy is linked with; None where it is linked with another library."""
    import numpy as np

    # Symbols are looked up in NumPy's own dependencies: SciPy brings another OpenBLAS. PyDLL keeps the GIL.
    library = ctypes.PyDLL(np._core._multiarray_umath.__file__)  # type: ignore[attr-defined]
    found = [pair for pair in _AFFIXES if hasattr(library, f"{pair[0]}openblas_get_corename{pair[1]}")]
    return _OpenBLAS(library, found[0]) if found else None


@cache
def _blas_name() -> str:
    """Name the library that NumPy was built with."""
    import numpy as np

    build: dict[str, dict[str, dict[str, str]]] = np.show_config(mode="dicts")  # type: ignore[assignment]
    return build.get("Build Dependencies", {}).get("blas", {}).get("name", "an unknown library")


@cache
def _numpy_loops() -> str:
    """Return AVX2 where the loops that round use it, else NumPy's name for their target, such as baseline."""
    from numpy.lib.introspect import opt_func_info

    info = opt_func_info(func_name=_ROUNDED_LOOPS, signature="float32")
    targets = {loop["current"] for loops in info.values() for loop in loops.values()}
    if all(_AVX2.search(target) for target in targets):
        return "AVX2"
    return "/".join(sorted({target.partition("(")[0] for target in targets}))
