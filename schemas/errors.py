"""Every error SpheroRank raises on purpose, in one tree, named by who must act.

::

    SpheroRankError
    ├── ConfigError          the operator: a setting, encoder bundle, folder or socket is wrong (exit code 78)
    │   ├── BundleError      … the encoder bundle does not fit
    │   └── CollapseError    … with these settings all images come to look alike to an encoder in training
    ├── PlateMapError        the scientist: plate.toml, wells.csv or assay.csv is wrong
    ├── ImageError           the robot: this file or image cannot be used; it is refused, the service goes on
    ├── ProfileError         the scientist: a table or plate cannot be ranked as it is
    ├── SourceGoneError      the operator: the drop folder vanished; nothing is deleted, the service waits
    ├── MicroscopeError      the operator: a device failed, was too slow, or does not stand where it was sent
    ├── StoreError           the operator: the database cannot be read or written
    ├── OutputError          the operator: a ranking's files cannot be written
    └── SilentServiceError   the operator: the service that is asked does not run, or cannot answer now

Every one names what it is about (a file, key or plate), the value found and what was expected, and keeps them as attributes.
"""


class SpheroRankError(Exception):
    """The root. ``where`` is a file, key or plate; ``problem`` is the value found and what was expected."""

    def __init__(self, where: object, problem: str) -> None:
        self.where = str(where)
        self.problem = problem
        super().__init__(f"{self.where}: {problem}")


class ConfigError(SpheroRankError):
    """A setting is wrong; ``problems`` lists every one found, each as ``(where, problem)``."""

    def __init__(self, where: object, problem: str, more: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(where, problem)
        self.problems: tuple[tuple[str, str], ...] = ((self.where, problem), *more)

    def __str__(self) -> str:
        return "\n".join(f"{where}: {problem}" for where, problem in self.problems)


class BundleError(ConfigError):
    """An encoder bundle is missing, damaged or does not compute what it computed when it was made."""


class CollapseError(ConfigError):
    """An encoder in training gives all images nearly the same embedding; the run is stopped, its last checkpoint stays."""


class PlateMapError(SpheroRankError):
    """A plate map or assay file is wrong; ``where`` is ``file``, ``file, line N`` or ``file, key K``."""


class ImageError(SpheroRankError):
    """A file or well image cannot be used; it is refused with this reason and everything else goes on."""


class ProfileError(SpheroRankError):
    """A profile table or a plate's trajectories cannot be ranked; the message says what is missing."""


class SourceGoneError(SpheroRankError):
    """The drop folder cannot be listed: unmounted, renamed or without permission."""


class MicroscopeError(SpheroRankError):
    """A device of the microscope failed, was too slow or does not stand where it was sent; costs one try of one well."""


class StoreError(SpheroRankError):
    """The database cannot be reached, read or written."""


class OutputError(SpheroRankError):
    """A ranking's file or a checkpoint cannot be written: disk full, no permission, or another ranking stands there."""


class SilentServiceError(SpheroRankError):
    """Nothing answers at the requests socket, or the service cannot answer now; asking again later may help."""
