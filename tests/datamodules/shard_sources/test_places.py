"""What `shards:` may name, and how places are told."""

from pathlib import Path

import pytest

from keyface.datamodules.shard_files.index import ShardError
from keyface.datamodules.shard_sources.places import beside, expand, is_url, shown


@pytest.mark.parametrize(
    ("place", "remote"),
    [
        ("https://example.org/a.tar", True),
        ("s3://bucket/a.tar", True),
        ("gs://bucket/a.tar", True),
        ("http://127.0.0.1:8000/a.tar", True),
        ("data/a.tar", False),
        ("/data/https:/a.tar", False),
        ("C:data", False),
        (Path("data"), False),
    ],
)
def test_what_is_fetched(place: str | Path, remote: bool) -> None:
    assert is_url(place) is remote


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("http://example.org/a.tar", "not by http"),
        ("ftp://127.0.0.1/a.tar", "not by ftp"),
        ("simplecache::https://example.org/a.tar", "not by simplecache"),
        ("https::s3://a.tar", "not by https"),
        ("pipe:cat a.tar", "not by pipe"),
    ],
)
def test_what_is_refused(place: str, told: str) -> None:
    with pytest.raises(ShardError, match=f"refused; shards are read .* over https, s3, gs, {told}$"):
        is_url(place)


def test_folders_are_no_lists(tmp_path: Path) -> None:
    for folder in ("data", tmp_path, "s3://bucket/data", f"{tmp_path}/tar"):
        assert expand(folder) is None
    braces = tmp_path / "a{b,c}"
    braces.mkdir()
    assert expand(str(braces)) is None, "a folder may have such a name"
    with pytest.raises(ShardError, match=r"^https://a.org/data: a URL with a query names a tar file"):
        expand("https://a.org/data?key=secret")


def test_patterns_and_lists_in_their_order() -> None:
    expected = [f"data/{letter}-{number}.tar" for letter in "ab" for number in ("00", "01")]
    assert expand("data/{a,b}-{00..01}.tar") == expected
    assert expand(["data/{a,b}-00.tar", "s3://c/d.tar?x=1"]) == [
        "data/a-00.tar",
        "data/b-00.tar",
        "s3://c/d.tar?x=1",
    ]
    assert expand("data/a.tar") == ["data/a.tar"]
    assert expand("https://a.org/b.tar?key=secret") == ["https://a.org/b.tar?key=secret"]


def test_a_file_whose_name_has_braces(tmp_path: Path) -> None:
    path = tmp_path / "{a,b}.tar"
    path.touch()
    assert expand([str(path)]) == [str(path)]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "the list of shards is empty"),
        (["a.tar", "folder"], "^folder: a list or pattern names tar files"),
        ("https://me:word@a.org/{a,b}.zip", "^https://a.org/a.zip: a list or pattern names tar files"),
        (["a.tar", "{b,a}.tar"], "^a.tar: is named twice"),
        (["a.tar", "pipe:b.tar"], "not by pipe"),
        ("{1..2..x}{.tar", "{1..2..x}{.tar: "),
    ],
)
def test_lists_that_make_no_sense(given: str | list[str], told: str) -> None:
    with pytest.raises(ShardError, match=told):
        expand(given)


def test_what_lies_beside() -> None:
    assert beside("https://a.org/b/c.tar", "index.json") == "https://a.org/b/index.json"
    assert beside("data/b/c.tar", "index.json") == "data/b/index.json"


def test_messages_keep_secrets() -> None:
    assert shown("https://me:word@a.org:80/b.tar?key=secret#part") == "https://a.org:80/b.tar"
    assert shown("data/a?b@c.tar") == "data/a?b@c.tar"
