"""A release as an archive is verified like its folder, and archives cannot harm."""

import stat
import zipfile

import pytest
from release_checks import FILES, wrong

from reprood.core.errors import ReproodError
from reprood.publish.contents import SUMS
from reprood.publish.unpack import opened
from reprood.publish.verify import verify

pytestmark = pytest.mark.slow

# --- archives ---


def archived(folder, path, members=()):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"draft/{file.relative_to(folder)}")
        for name, data, mode in members:
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            archive.writestr(member, data)
    return path


def test_an_archive_is_verified_like_its_folder(release, tmp_path):
    assert not wrong(archived(release, tmp_path / "draft.zip"))


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (("../outside.txt", "x", 0o644), "leads outside"),
        (("/absolute.txt", "x", 0o644), "leads outside"),
        (("draft/link", "/etc/passwd", stat.S_IFLNK | 0o777), "is a link"),
    ],
)
def test_hostile_archives_are_not_opened(release, tmp_path, member, words):
    path = archived(release, tmp_path / "bad.zip", [member])
    with pytest.raises(ReproodError, match=words):
        verify(path)
    assert not (tmp_path / "outside.txt").exists()


def test_bombs_and_other_files_are_refused(tmp_path, monkeypatch):
    import reprood.publish.unpack

    monkeypatch.setattr(reprood.publish.unpack, "MAX_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"0" * 5000)
    with pytest.raises(ReproodError, match="would unpack to more"), opened(tmp_path / "bomb.zip"):
        pass
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(ReproodError, match="neither a folder nor a zip"):
        verify(tmp_path / "text")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(ReproodError, match="holds no ro-crate-metadata.json"):
        verify(tmp_path / "empty.zip")


def test_paths_of_the_checksums_stay_inside_and_links_are_refused(copy):
    with open(copy / SUMS, "a") as stream:
        stream.write("0" * 64 + "  ../../etc/passwd\n")
    assert "expected a SHA-256 digest and a path inside" in wrong(copy)[FILES][0]
    (copy / "runs" / "link").symlink_to("/etc/passwd")
    with pytest.raises(ReproodError, match="runs/link is a link"):
        verify(copy)
