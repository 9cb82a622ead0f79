"""Select the image files that show a well: the bright-field channel, and no copies of other files.

Nothing here reads a file or a clock.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath

from acquisition.drop_folder.name_marks import channel_key, looks_like_backup
from acquisition.drop_folder.visits import CopiedFile, NamedFile, VisitFile
from schemas.well_image import FileVersion, VisitKey


def channel_problem(
    channels: Collection[str | None], wanted: str, *, key: str = "source.channel"
) -> str | None:
    """Return as text why the wanted channel of a plate cannot be selected; None if it can.

    Parameters
    ----------
    channels
        The channel in each file name of the plate; None for a name without one.
    wanted
        The setting; empty: the names have one channel only.
    key
        The name of the setting, for the message.
    """
    if not any(channels):
        return None
    found = {channel_key(channel or ""): channel or "none" for channel in channels}
    listed = ", ".join(map(repr, sorted(found.values())))
    if not wanted and len(found) > 1:
        return (
            f"the names have {len(found)} channels: {listed}; "
            f"expected {key} to name the bright-field one"
        )
    if wanted and not found.keys() & {channel_key(wanted), ""}:
        return f"{key} is {wanted!r}; expected one of the channels in the names: {listed}"
    return None


def select_channel(files: Iterable[NamedFile], wanted: str) -> Iterator[NamedFile]:
    """Yield the files of a channel, and files whose name has no channel.

    Parameters
    ----------
    files
        Files of any number of wells.
    wanted
        The name or number of the channel; empty: all files are yielded.
    """
    for each in files:
        channel = each.name.channel
        if not wanted or channel is None or channel_key(channel) == channel_key(wanted):
            yield each


@dataclass(frozen=True)
class RepeatRules:
    """The facts that decide whether a second file of a visit and plane is a new image or a copy."""

    is_new: Callable[[FileVersion], bool]  # the version of a file has no outcome yet
    is_known: Callable[[FileVersion], bool]  # this or an earlier version of a file has an outcome
    is_home: Callable[[VisitFile], bool]  # the file is in the folder of the plate's map
    setting_of: Callable[[str], str]  # the part of a path that repeated images share
    digests: Mapping[FileVersion, str]  # SHA-256 of files that were compared


@dataclass
class Repeats:
    """The files of a number of visits, sorted into images, copies and files to refuse."""

    accepted: list[VisitFile] = field(default_factory=list)
    copies: list[CopiedFile] = field(default_factory=list)
    refused: list[tuple[VisitFile, str]] = field(default_factory=list)  # with the reason
    undigested: list[CopiedFile] = field(default_factory=list)  # their contents decide


def sort_repeats(files: Iterable[VisitFile], rules: RepeatRules) -> Repeats:
    """Return the Repeats of visit files: images, copies of other files, and files to refuse.

    Of several folders with files of the same visit, one holds its images: that of the plate map,
    else that of the first image. A file in another folder is a copy if its content is equal, and
    is refused otherwise. Files of one folder whose names differ in more than an identifier may
    show another channel, site or plane: they are refused.
    """
    visits: defaultdict[VisitKey, list[VisitFile]] = defaultdict(list)
    for each in files:
        visits[each.key].append(each)
    repeats = Repeats()
    for visit in visits.values():
        root = min({each.root for each in visit}, key=partial(_root_order, visit, rules))
        planes: defaultdict[int | None, list[VisitFile]] = defaultdict(list)
        for each in visit:
            if each.root == root:
                planes[each.name.plane].append(each)
        for each in visit:
            if each.root != root and rules.is_new(each.file.version):
                _sort_copy(each, planes.get(each.name.plane, []), root, rules, repeats)
        for column in planes.values():
            _sort_settings(column, rules, repeats)
    return repeats


def _root_order(
    visit: Sequence[VisitFile], rules: RepeatRules, root: str
) -> tuple[bool, bool, bool, int, str]:
    """Return the sort key of a folder with files of a visit: the folder of the images first."""
    files = [each for each in visit if each.root == root]
    return (
        not any(map(rules.is_home, files)),
        looks_like_backup(root),
        not any(rules.is_known(each.file.version) for each in files),
        root.count("/"),
        root,
    )


def _original_of(copy: VisitFile, originals: Sequence[VisitFile]) -> VisitFile:
    """Return the file that a file in another folder is a copy of: that of the same name."""
    name = PurePosixPath(copy.file.version.path).name
    same = [each for each in originals if PurePosixPath(each.file.version.path).name == name]
    return max(same or originals, key=lambda each: each.file.version.mtime_ns)


def _sort_copy(
    each: VisitFile,
    originals: Sequence[VisitFile],
    root: str,
    rules: RepeatRules,
    repeats: Repeats,
) -> None:
    """Add a file outside the folder of its visit to the copies, the refused or those to compare."""
    if not originals:
        reason = (
            f"the other planes of its visit are in {root or 'the drop folder'}; "
            "expected all planes of a visit in one folder"
        )
        repeats.refused.append((each, reason))
        return
    pair = CopiedFile(each, _original_of(each, originals))
    copy, original = pair.copy.file.version, pair.original.file.version
    if not {copy, original} <= rules.digests.keys():
        repeats.undigested.append(pair)
    elif rules.digests[copy] == rules.digests[original] != "":
        repeats.copies.append(pair)
    else:
        reason = (
            f"its content differs from that of {original.path}, which is the same well, day and "
            "plane in another folder; expected equal content, or one folder"
        )
        repeats.refused.append((each, reason))


def _sort_settings(column: Sequence[VisitFile], rules: RepeatRules, repeats: Repeats) -> None:
    """Add the files of one folder, visit and plane to the accepted or the refused files.

    If their names have several settings, only the setting of an image that was ingested earlier is
    accepted.
    """
    column = sorted(
        column,
        key=lambda each: (
            rules.is_new(each.file.version),
            each.file.version.mtime_ns,
            each.file.version.path,
        ),
    )
    settings = [rules.setting_of(each.file.version.path) for each in column]
    is_clear = len(set(settings)) == 1 or not rules.is_new(column[0].file.version)
    for each, setting in zip(column, settings, strict=True):
        if is_clear and setting == settings[0]:
            repeats.accepted.append(each)
        elif rules.is_new(each.file.version):
            other = column[next(n for n, one in enumerate(settings) if one != setting)]
            reason = (
                f"has the same well, day and plane as {other.file.version.path}, and the names "
                "differ in text that source.pattern ignores; expected a field for it in the "
                "pattern, such as {channel}, {field}, {plane}, {elapsed_hours} or {taken_at}"
            )
            repeats.refused.append((each, reason))
