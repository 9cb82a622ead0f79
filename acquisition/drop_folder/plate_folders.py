"""Find the plate of an image file, and the folder that holds the images of the plate."""

from collections.abc import Collection, Mapping

from acquisition.drop_folder.name_marks import looks_like_backup, name_of_original, plate_key
from acquisition.drop_folder.naming import NamePattern, ParsedName


class PlateFolders:
    """The plates and their folders, as file names and plate maps describe them.

    Parameters
    ----------
    pattern
        The pattern of the file names.
    folder_name
        The name of the drop folder: the plate of files directly in it, if nothing else names one.
    plate
        The plate of files whose name has none; None: the folder names it.
    known
        The ids of the plates that have a plate map, valid or not.
    map_folders
        The folder of each plate map, by plate.
    """

    def __init__(
        self,
        pattern: NamePattern,
        folder_name: str,
        plate: str | None,
        known: Collection[str],
        map_folders: Mapping[str, str],
    ) -> None:
        self._pattern = pattern
        self._folder_name = folder_name
        self._plate = plate
        self._known = known
        self._map_folders = map_folders
        self._by_key: dict[str, str | None] = {}  # None: several plates have the key
        for each in known:
            key = plate_key(each)
            self._by_key[key] = None if key in self._by_key else each

    def plate_of(self, path: str, name: ParsedName) -> str:
        """Return the plate id of a file at a path from its parsed name, the setting or its folder.

        A plate that has no map under this text is that of the map whose id differs in case, white
        space or the form of Unicode only, or whose folder was copied (``PDAC-0042 - Copy``).
        """
        written = name.plate or self._plate or self.folder_of(path)
        if written in self._known:
            return written
        for text in (written, name_of_original(written)):
            if text is not None and (found := self._by_key.get(plate_key(text))) is not None:
                return found
        return written

    def folder_of(self, path: str) -> str:
        """Return the first folder of a path above the part that the pattern covers.

        If there is none, return the name of the drop folder.
        """
        above = self._above(path)
        return above[0] if above else self._folder_name

    def root_of(self, path: str, plate: str) -> str:
        """Return the folder that holds the images of a plate and that a file is in.

        It is the folder with the plate's name if the pattern has one, else the folder of the plate
        map, a backup in it, or the first folder of the path.
        """
        above = self._above(path)
        if self._pattern.plate_part is not None:
            return "/".join(path.split("/")[: len(above) + self._pattern.plate_part + 1])
        home = self._map_folders.get(plate)
        inside = above[len(_parts(home)) :] if home is not None and _is_in(path, home) else above
        for number, folder in enumerate(inside, start=len(above) - len(inside) + 1):
            if looks_like_backup(folder):
                return "/".join(above[:number])
        return home if home is not None and _is_in(path, home) else "/".join(above[:1])

    def is_home(self, path: str, plate: str) -> bool:
        """Return whether a file is in the folder that also holds the map of its plate."""
        home = self._map_folders.get(plate)
        if home is None:
            return False
        root = self.root_of(path, plate)
        if self._pattern.plate_part is None:
            return root == home
        return _is_in(home, root) or (
            _is_in(root, home) and len(self._above(path)) <= len(_parts(home))
        )

    def _above(self, path: str) -> list[str]:
        """Return the folders of a path above the part that the pattern covers."""
        return path.split("/")[: -self._pattern.part_count]


def _is_in(path: str, folder: str) -> bool:
    """Return whether a path is a folder or in it; the empty folder contains everything."""
    return not folder or f"{path}/".startswith(f"{folder}/")


def _parts(folder: str) -> list[str]:
    """Return the names in the path of a folder; empty for the drop folder."""
    return folder.split("/") if folder else []
