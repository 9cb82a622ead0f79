"""The encoders to evaluate, loaded and checked before torch and images are loaded."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from inference.bundle import SHIPPED_FOLDERS, Bundle, load_bundle
from schemas.errors import ConfigError

MEASURES = "measures"


@dataclass(frozen=True)
class Candidate:
    """One encoder to evaluate, several joined ones, or without bundles the tissue measures."""

    name: str  # of a shipped bundle, or model.name of its training
    bundles: tuple[Bundle, ...]

    @property
    def encoder_id(self) -> str:
        """Return the id of the encoder, or one id for joined encoders."""
        ids = [bundle.card.encoder_id for bundle in self.bundles]
        if len(ids) > 1:
            return f"joined-{hashlib.sha256(' '.join(ids).encode()).hexdigest()[:16]}"
        return ids[0] if ids else MEASURES

    @property
    def ranking_weight(self) -> float:
        """Return the ranking weight of the encoder, or the mean of joined ones."""
        weights = [bundle.card.ranking_weight for bundle in self.bundles]
        return sum(weights) / len(weights) if weights else 0.0


def load_candidates(names: Sequence[str], real_data: Path | None = None) -> list[Candidate]:
    """Return the measures and the Candidate of each name: a shipped one, a folder, or ``a+b``.

    Different encoders of one name get the first digits of their ids as well.

    Parameters
    ----------
    real_data
        Folder of real images, whose existence is checked too.

    Raises
    ------
    ConfigError
        If a bundle is missing, damaged, or named twice, or the folder does not exist.
    """
    candidates = [Candidate(MEASURES, ()), *(_load(name) for name in names)]
    known: dict[str, str] = {}
    for given, candidate in zip((MEASURES, *names), candidates, strict=True):
        if candidate.encoder_id in known:
            raise ConfigError(
                given,
                f"is the same encoder as {known[candidate.encoder_id]} ({candidate.encoder_id}); "
                "expected different encoders",
            )
        known[candidate.encoder_id] = given
    if real_data is not None and not real_data.is_dir():
        raise ConfigError("--real-data", f"is {real_data}; expected a folder of real images")
    counts = Counter(candidate.name for candidate in candidates)
    return [
        replace(each, name=f"{each.name}-{each.encoder_id.rpartition('-')[2][:4]}")
        if counts[each.name] > 1
        else each
        for each in candidates
    ]


def _load(name: str) -> Candidate:
    parts = [name] if Path(name).is_dir() else name.split("+")
    bundles = tuple(load_bundle(part) for part in parts)
    return Candidate("+".join(map(_name, bundles)), bundles)


def _name(bundle: Bundle) -> str:
    """Return the name of a shipped bundle, such as ``default``, or the one that its card states."""
    return bundle.folder.name if bundle.folder.parent in SHIPPED_FOLDERS else bundle.card.name
