from pathlib import Path

import pytest

from acquisition.drop_folder.folder_identity import Mount, folder_identity, read_mounts

LOCAL = Mount("/", "ext4", "/dev/sda1", "/")


def test_links_to_one_folder_have_its_identity(tmp_path: Path) -> None:
    (tmp_path / "drop").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "drop")
    expected = f"lab:{tmp_path}/drop"
    assert folder_identity(tmp_path / "drop", [LOCAL], "lab") == expected
    assert folder_identity(tmp_path / "link", [LOCAL], "lab") == expected


def test_equal_paths_on_two_computers_are_different_folders() -> None:
    one, other = (folder_identity(Path("/no/drop"), [LOCAL], host) for host in ("pc1", "pc2"))
    assert one != other


def test_a_share_has_one_identity_at_every_mount_point_of_every_computer() -> None:
    share = "nas:/export"
    one = folder_identity(Path("/no/a/drop"), [LOCAL, Mount("/no/a", "nfs4", share, "/")], "pc1")
    other = folder_identity(Path("/no/b/drop"), [LOCAL, Mount("/no/b", "nfs4", share, "/")], "pc2")
    below = Mount("/no/c", "nfs4", share, "/drop")  # a bind mount of a folder of the share
    assert one == other == folder_identity(Path("/no/c"), [LOCAL, below], "pc3")
    assert one == "nas:/export/drop"


def test_a_later_mount_covers_an_earlier_one_at_the_same_place() -> None:
    mounts = [Mount("/no/a", "cifs", "//nas/one", "/"), Mount("/no/a", "cifs", "//nas/two", "/")]
    assert folder_identity(Path("/no/a/drop"), mounts) == "//nas/two/drop"


def test_the_mounts_of_the_kernel_are_read(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "22 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
        "98 22 0:45 /sub /srv/a\\040share rw,relatime - nfs4 nas:/export\\040two rw,vers=4.2\n"
        "damaged\n"
    )
    assert read_mounts(table) == [
        Mount("/", "ext4", "/dev/vda", "/"),
        Mount("/srv/a share", "nfs4", "nas:/export two", "/sub"),
    ]
    assert read_mounts(tmp_path / "missing") == []
    if Path("/proc/self/mountinfo").exists():
        assert "/" in {mount.place for mount in read_mounts()}


@pytest.mark.parametrize("mounts", [[], [LOCAL]])
def test_a_folder_that_does_not_exist_has_an_identity(mounts: list[Mount]) -> None:
    assert folder_identity(Path("/no/drop"), mounts, "lab") == "lab:/no/drop"
