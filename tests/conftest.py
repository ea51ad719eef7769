"""What all tests share: where the reference data lies, renderers loaded once a session, Hypothesis budgets.

`ISC_REFERENCE` is the directory of the models' own files (default: `../shared/reference` beside the repository);
`ISC_PROFILE` is the Hypothesis budget, `ci` or `nightly`; `mutants` is `ci` that looks for no smaller example.
"""

from __future__ import annotations

import os

os.environ["ISC_NO_CACHE"] = "1"  # what one test compares, another must not find compared
os.environ.setdefault("RAYON_NUM_THREADS", "1")  # tests run in parallel already; read when an engine first starts

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

import isc
from image_files import QWEN3_VL
from isc.cli import Exit, main
from isc.encoding.encoders import VocabularyEncoder, embedded
from isc.formats.qwen3 import Qwen3
from isc.media import ImageProcessor
from references import encoder_of

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile(
    "ci", max_examples=30, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "mutants", settings.get_profile("ci"), max_examples=40, phases=(Phase.explicit, Phase.generate)
)
settings.register_profile("nightly", max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("ISC_PROFILE", "ci"))

collect_ignore_glob = ["typing/*"]  # read by mypy, never run


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def reference() -> Path:
    """The models' own templates and tokenizers; what needs them is skipped where they are not."""
    place = Path(os.environ.get("ISC_REFERENCE") or ROOT.parent / "shared" / "reference")
    if not (place / "models.json").is_file():
        pytest.skip(f"no reference data at {place}; set ISC_REFERENCE to its directory")
    return place


@pytest.fixture(scope="session")
def real_encoder(reference: Path) -> Callable[[str], VocabularyEncoder]:
    """The encoder of a tokenizer of the reference by its name, e.g. `qwen3`; read once a session."""
    return cache(partial(encoder_of, reference))


@pytest.fixture(scope="session")
def qwen3(real_encoder: Callable[[str], VocabularyEncoder]) -> isc.Renderer:
    """Qwen3 on its own vocabulary."""
    return isc.create_renderer(real_encoder("qwen3"), Qwen3())


@pytest.fixture(scope="session")
def small() -> isc.Renderer:
    """Qwen3 on the vocabulary that isc carries itself: needs no reference, loads in no time."""
    return isc.create_renderer(embedded(Qwen3().specials), Qwen3())


@pytest.fixture(scope="session")
def vision() -> isc.Renderer:
    """Qwen3-VL on the same vocabulary, numbering images; what measures them has the model's own settings."""
    family = isc.Qwen3VL(add_vision_id=True)
    return isc.create_renderer(embedded(family.specials), family, images=ImageProcessor.from_config(QWEN3_VL))


@pytest.fixture
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain terminal of 80 columns."""
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command prints that must succeed."""

    def run(*arguments: object) -> str:
        assert main([str(argument) for argument in arguments]) == Exit.OK
        return capsys.readouterr().out

    return run
