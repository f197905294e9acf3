"""Load modules anew with a mistake planted in one of them, to see whether a simulation finds it."""

import sys
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType


def load_mutants(originals: Mapping[str, ModuleType], module: str, code: str, mistake: str) -> dict[str, ModuleType]:
    """Load modules again, each of which sees the others that were loaded before it.

    Args:
        originals: The modules by their last names; one that imports another follows it.
        module: The last name of the one with the mistake.
        code: What its source has once.
        mistake: What it has instead.
    """
    found: dict[str, ModuleType] = {}
    for name, original in originals.items():
        source = Path(str(original.__file__)).read_text(encoding="utf-8")
        if name == module:
            assert source.count(code) == 1, f"the code to change is not there once: {code}"
            source = source.replace(code, mistake)
        for other in found:
            source = source.replace(f"from {originals[other].__name__} import", f"from mutant_{other} import")
        spec = spec_from_loader(f"mutant_{name}", loader=None)
        assert spec
        sys.modules[f"mutant_{name}"] = found[name] = module_from_spec(spec)
        exec(compile(source, f"<mutant {name}>", "exec"), found[name].__dict__)  # noqa: S102 - our own source, mutated
    return found
