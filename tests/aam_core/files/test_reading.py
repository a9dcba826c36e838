"""Files that nobody vouches for."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading

import pytest

from aam_core.errors import InputError
from aam_core.files import reading
from aam_core.files.reading import (
    decoded,
    existing,
    member,
    opened,
    read_bytes,
    read_json,
    read_yaml,
)


def test_existing_paths(tmp_path):
    with pytest.raises(InputError, match=r"There is no file .*x \(table\)"):
        existing(tmp_path / "x", "table")
    with pytest.raises(InputError, match="There is no file"):
        existing("a\0b", "table")
    with pytest.raises(InputError, match="is a folder; the table must be a file"):
        existing(str(tmp_path), "table")
    with pytest.raises(InputError, match="/dev/zero is a device; the table must be a file"):
        existing("/dev/zero", "table")


def test_a_file_is_unzipped_and_can_be_rewound(tmp_path):
    content = b"counts" * 1000
    (tmp_path / "plain").write_bytes(content)
    (tmp_path / "zipped").write_bytes(gzip.compress(content))
    for name in ("plain", "zipped"):
        with opened(tmp_path / name, "table") as file:
            assert file.read() == content and file.seek(6) == 6
            assert file.read(6) == b"counts"


@pytest.mark.parametrize("cut", [slice(0, -8), slice(0, 40), slice(0, 3)])
def test_damaged_gzip(tmp_path, cut):
    (tmp_path / "a.gz").write_bytes(gzip.compress(os.urandom(2000))[cut])
    with pytest.raises(InputError, match=r"a.gz \(table\) cannot be read"):
        read_bytes(tmp_path / "a.gz", "table")


def test_gzip_that_expands_too_much(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(2**28), 9))
    with pytest.raises(InputError, match="a.gz would expand from .* damaged"):
        read_bytes(tmp_path / "a.gz", "table")


def test_a_file_of_holes(tmp_path):
    with open(tmp_path / "sparse", "wb") as file:
        file.write(b"{}")
        file.truncate(2**43)
    with pytest.raises(InputError, match="sparse would expand from .* to 8.8e.12"):
        read_bytes(tmp_path / "sparse", "table")
    with pytest.raises(InputError, match="would expand"):
        member(tmp_path, "sparse")


def pipe(path, content):
    """Write into a named pipe, once somebody reads it."""
    os.mkfifo(path)
    thread = threading.Thread(target=lambda: path.write_bytes(content))
    thread.start()
    return thread


@pytest.mark.parametrize("squeeze", [bytes, gzip.compress])
def test_a_pipe_is_read_like_a_file(tmp_path, squeeze):
    content = os.urandom(300_000)
    thread = pipe(tmp_path / "pipe", squeeze(content))
    with opened(tmp_path / "pipe", "table") as file:
        assert file.read() == content and file.seek(0) == 0 and file.read(10) == content[:10]
    thread.join()


def test_a_pipe_whose_writer_is_slow(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_PIPE_TIMEOUT", 0.1)
    writer = subprocess.Popen(["sh", "-c", "sleep 0.6; echo late"], stdout=subprocess.PIPE)
    assert read_bytes(f"/dev/fd/{writer.stdout.fileno()}", "table") == b"late\n"
    writer.stdout.close()
    writer.wait()


def test_pipes_without_content_and_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_PIPE_TIMEOUT", 0.1)
    monkeypatch.setattr(reading, "_LARGEST_PIPE", 2**20)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="Nothing was written into the pipe"):
        read_bytes(tmp_path / "pipe", "table")
    writer = subprocess.Popen(["yes"], stdout=subprocess.PIPE)
    with pytest.raises(InputError, match="More than 1,048,576 bytes came from the pipe"):
        read_bytes(f"/dev/fd/{writer.stdout.fileno()}", "table")
    writer.stdout.close()
    writer.wait()


def test_members_of_a_folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.json").write_text("[1]")
    (folder / "within.json").symlink_to("a.json")
    (tmp_path / "secret.json").write_text("[7]")
    (folder / "out.json").symlink_to(tmp_path / "secret.json")
    (tmp_path / "link").symlink_to(folder)
    for path in (folder / "a.json", folder / "within.json", tmp_path / "link" / "a.json"):
        assert read_json(path) == [1]
    with pytest.raises(InputError, match="out.json is a link that leads out of its folder"):
        read_json(folder / "out.json")
    os.mkfifo(folder / "pipe.json")
    (folder / "folder.json").mkdir()
    for name in ("pipe.json", "folder.json"):
        with pytest.raises(InputError, match="is not a regular file"):
            read_json(folder / name)
    with pytest.raises(InputError, match="absent.json is missing"):
        read_json(folder / "absent.json")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "NaN",
        "[Infinity]",
        "[1e999]",
        "[" * 100_000,
        '{"a": ' * 100_000,
        "9" * 5000,
        "\xff",
    ],
)
def test_content_that_is_not_json(tmp_path, content):
    (tmp_path / "a.json").write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match="a.json is truncated or not JSON") as caught:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_infinities_where_they_are_meant(tmp_path):
    (tmp_path / "a.json").write_text("[Infinity, -Infinity]")
    assert read_json(tmp_path / "a.json", infinite=True) == [float("inf"), -float("inf")]


def bomb(levels):
    """Names of lists of names of lists ..., ten a level."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        items = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{items}]")
    return "\n".join(lines)


def merges(levels):
    """Mappings that take in the one before ten times."""
    lines = ["a0: &a0 {k0: 1}"]
    for level in range(1, levels):
        items = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} {{<<: [{items}], k{level}: 1}}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (bomb(12), "write out what"),
        (merges(12), "write out what"),
        ("a: &a [*a]", "."),
        ("[" * 100_000, "nested too deep"),
        ("a: 2020-99-99", "month"),
        ("a: 2020-01-01T99:00:00", "hour"),
        ("a: !!timestamp x", "."),
        ("a: !!float x", "."),
        ("a: !!int ''", "."),
        ("a: !!bool maybe", "."),
        ("a: !!python/object/apply:os.system [ls]", "tag"),
        ("a: 0x" + "f" * 5000, "more than 100 digits"),
        ("a: " + "1:" * 5000 + "1", "more than 100 digits"),
        ("{[a, b]: c}", "unhashable"),
        ("a: b: c", "mapping values"),
        ("a: \x01", "."),
        ("a: '" + "x" * 300_000 + "'", "more than 262,144 bytes"),
    ],
)
def test_content_that_is_not_yaml(tmp_path, content, why):
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(InputError, match=f"a.yaml .*{why}") as caught:
        read_yaml(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


def test_yaml_with_names_for_single_values(tmp_path):
    (tmp_path / "a.yaml").write_text("optim: {lr: &x 0.1, ema: *x}\n")
    assert read_yaml(tmp_path / "a.yaml") == {"optim": {"lr": 0.1, "ema": 0.1}}


def test_a_command_reads_and_writes_pipes(tmp_path):
    """By a shell's ``<(...)``, ``/dev/stdin`` and ``/dev/stdout``, gzipped or not."""
    from aam_core.simulate.study import simulate

    simulate(12, 20, 1, sequence_length=30, depth=200).write(tmp_path)
    aam = f"{sys.executable} -m aam_core"
    unifrac = f"{aam} unifrac --metric braycurtis"
    run = {"shell": True, "executable": "/bin/bash", "cwd": tmp_path, "check": True}
    subprocess.run(f"{unifrac} --table table.biom --output dm.tsv", **run)
    expected = (tmp_path / "dm.tsv").read_text()
    for inputs in (
        "--table <(cat table.biom) --output /dev/stdout",
        "--table /dev/stdin --output /dev/stdout < table.biom",
        "--table <(gzip -c table.biom) --output /dev/stdout | cat",
        "--table table.biom --output >(cat > dm2.tsv); sleep 0.5; cat dm2.tsv",
    ):
        done = subprocess.run(f"{unifrac} {inputs}", stdout=subprocess.PIPE, **run)
        assert done.stdout.decode() == expected
    subprocess.run(f"{unifrac} --table table.biom --output /dev/stdout >> dm.tsv", **run)
    assert (tmp_path / "dm.tsv").read_text() == 2 * expected


def test_text_is_decoded_line_by_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffä\r\nb\rc".encode())
    with open(path, "rb") as file, decoded(file, "a.txt") as text:
        assert list(text) == ["ä\n", "b\n", "c"]
    path.write_bytes(b"good\n" * 5000 + b"\xff\n")
    words = "a.txt is not text: its byte 25,000 is not UTF-8"
    with open(path, "rb") as file, pytest.raises(InputError, match=words):
        with decoded(file, "a.txt") as text:
            list(text)
