"""The exceptions that SpheroRank raises, in one tree, named by the person who must act.

::

    SpheroRankError
    ├── ConfigError          operator: a setting, bundle, folder or socket is wrong (exit code 78)
    │   ├── ScaleError       operator: scales of microscope and plate map contradict each other
    │   ├── BundleError      operator: the encoder bundle is missing, damaged or unsuitable
    │   ├── StoreInUseError  operator: another service uses the database, its name or its folder
    │   └── CollapseError    operator: these training settings give all images one embedding
    ├── PlateMapError        scientist: plate.toml, wells.csv or assay.csv is wrong
    ├── ImageError           robot: a file or image cannot be used; it is rejected
    │   └── IncompleteImageError  robot: the end of the file is missing; it may still be written
    ├── MachineError         operator: memory, disk or network failed; the input is tried again
    ├── ProfileError         scientist: a table or plate cannot be ranked
    ├── SourceGoneError      operator: the drop folder is unreachable; the service waits
    ├── MicroscopeError      operator: a device failed, was too slow or is at the wrong position
    ├── StoreError           operator: the database cannot be reached, read or written
    │   └── DamagedRowError      operator: one row of the database is damaged; others can be used
    ├── OutputError          operator: the files of a ranking cannot be written
    └── SilentServiceError   operator: the service does not run or cannot answer now

Every exception has the attributes ``where`` (a file, key or plate) and ``problem`` (the value found
and the expected value). Its text has one line for each problem, without control characters.
"""

from schemas.ids import printable


class SpheroRankError(Exception):
    """Base class of all SpheroRank exceptions; made from the place and the problem found there.

    Parameters
    ----------
    where
        The file, key or plate with the problem.
    problem
        The value found and the expected value.
    """

    def __init__(self, where: object, problem: str) -> None:
        self.where = str(where)
        self.problem = problem
        super().__init__(printable(f"{self.where}: {problem}"))

    def __reduce__(self) -> tuple[object, ...]:
        """Return the parts for pickle, so that a worker process can raise the exception."""
        return type(self), (self.where, self.problem)


class ConfigError(SpheroRankError):
    """A setting is wrong; ``problems`` lists every wrong setting as ``(where, problem)``."""

    def __init__(self, where: object, problem: str, more: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(where, problem)
        self.problems: tuple[tuple[str, str], ...] = ((self.where, problem), *more)

    def __reduce__(self) -> tuple[object, ...]:
        """Return the parts for pickle, so that a worker process can raise the exception."""
        return type(self), (self.where, self.problem, self.problems[1:])

    def __str__(self) -> str:
        return "\n".join(printable(f"{where}: {problem}") for where, problem in self.problems)


class ScaleError(ConfigError):
    """The scales of the microscope, its configuration or a plate map contradict each other."""


class BundleError(ConfigError):
    """An encoder bundle is missing, damaged or gives other results than when it was made."""


class StoreInUseError(ConfigError):
    """Another process uses the store; ``service`` names its service, or is empty if unknown."""

    def __init__(self, where: object, problem: str, service: str = "") -> None:
        super().__init__(where, problem)
        self.service = service

    def __reduce__(self) -> tuple[object, ...]:
        """Return the parts for pickle, so that a worker process can raise the exception."""
        return type(self), (self.where, self.problem, self.service)


class CollapseError(ConfigError):
    """An encoder in training gives all images nearly the same embedding.

    The training stops; its last checkpoint is kept.
    """


class PlateMapError(SpheroRankError):
    """A plate map or assay file is wrong; ``where`` names the file and the line or key."""


class ImageError(SpheroRankError):
    """A file or well image cannot be used; it is rejected and processing continues."""


class IncompleteImageError(ImageError):
    """The file may still be written: bytes are missing or zero at its end."""


class MachineError(SpheroRankError):
    """Memory, disk or network failed while an input was read or processed; it is tried again."""


class ProfileError(SpheroRankError):
    """A profile table or the trajectories of a plate cannot be ranked."""


class SourceGoneError(SpheroRankError):
    """The drop folder cannot be listed: it is unmounted, renamed or not readable."""


class MicroscopeError(SpheroRankError):
    """A microscope device failed, was too slow or is not at the requested position.

    The current attempt to image a well has failed.
    """


class StoreError(SpheroRankError):
    """The database cannot be reached, read or written."""


class DamagedRowError(StoreError):
    """A row of the database differs from the row that was stored, or cannot be read."""


class OutputError(SpheroRankError):
    """A ranking file or checkpoint cannot be written.

    The disk is full, permission is missing or another ranking has the same file name.
    """


class SilentServiceError(SpheroRankError):
    """The service does not answer on the requests socket; a later request may succeed."""
