"""Text that anybody may have written: limits, and one line that names the file."""

import ast
import json
from pathlib import Path

import pytest

import keyface
from keyface.untrusted import (
    MOST_DEPTH,
    UntrustedError,
    finite_number,
    parse_json,
    read_json,
    read_json_object,
    read_yaml,
    whole_number,
)

HOSTILE_JSON = [
    (b"", "cannot be read as JSON"),
    (b"hello", "cannot be read as JSON"),
    (b"\xff\xfe\x00", "cannot be read as JSON"),
    (b"[" * 100_000 + b"]" * 100_000, "deep inside each other"),
    (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "deep inside each other"),
    (b"[" * (MOST_DEPTH + 1) + b"]" * (MOST_DEPTH + 1), "deep inside each other"),
    (b"1" + b"0" * 5000, "a number of 5001 digits"),
    (b'{"a": 1e400}', "too large"),
    (b'{"a": NaN}', "NaN is no number of JSON"),
    (b'{"a": -Infinity}', "-Infinity is no number of JSON"),
    (b'{"a": 1, "b": {"c": 1, "c": 2}}', "'c' is given twice"),
]


@pytest.mark.parametrize(("data", "message"), HOSTILE_JSON)
def test_hostile_json_is_one_line_with_the_path(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "index.json"
    path.write_bytes(data)
    with pytest.raises(UntrustedError) as found:
        read_json(path)
    told = str(found.value)
    assert told.startswith(f"{path}: ")
    assert message in told
    assert "\n" not in told
    assert len(told) < len(str(path)) + 250


def test_what_json_may_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": [1, 2.5, true, null, "x"], "b": 18446744073709551616}')
    assert read_json_object(path) == {"a": [1, 2.5, True, None, "x"], "b": 2**64}
    path.write_text("[NaN, Infinity]")
    assert read_json(path, allow_nan=True)[1] == float("inf")
    deepest = "[" * MOST_DEPTH + "]" * MOST_DEPTH
    assert parse_json(deepest, "here") == json.loads(deepest)
    path.write_text("[]")
    with pytest.raises(UntrustedError, match=r"a\.json: an object with names and values is needed"):
        read_json_object(path)


def test_size_is_limited_before_anything_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps("x" * 100))
    with pytest.raises(UntrustedError, match=r"a\.json: larger than 50 bytes"):
        read_json(path, limit=50)
    with pytest.raises(FileNotFoundError, match=r"none\.json: bring it"):
        read_json(tmp_path / "none.json", missing="bring it")


HOSTILE_YAML = [
    ("a: [", "cannot be read as YAML"),
    ("- 1", "a mapping from names to values is needed"),
    ("a: 1\nb:\n  c: 1\n  c: 2", "'c' is given twice in the mapping that begins in line 3"),
    ("a: &a [*a]", "refers to itself"),
    ("[" * 5000 + "]" * 5000, "deep inside each other"),
    ("a: " + "[" * 80 + "]" * 80, "deep inside each other"),
    ("a: 1" + "0" * 5000, "line 1 has a number of 5001 digits; at most 40 are read"),
    ("a: 2020-13-45", "cannot be read as YAML: month must be in 1..12"),
    ("a: !!python/object/apply:os.system [touch canary]", "cannot be read as YAML"),
    ("\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
     + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]), "repeat more than"),
    ("a: 1\nb:\n- 1" + "0" * 300, "line 3 has a number of 301 digits; at most 40 are read"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), HOSTILE_YAML)
def test_hostile_yaml_is_one_line_with_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UntrustedError) as found:
        read_yaml(path)
    told = str(found.value)
    assert told.startswith(f"{path}: ")
    assert message in told
    assert "\n" not in told
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, True, "1", None, [1], -0.5, 1.5])
def test_no_finite_number(value: object) -> None:
    with pytest.raises(
        UntrustedError, match=r"a\.json: weight is .*; it must be a finite number from 0 to 1"
    ):
        finite_number(value, "a.json: weight", 0, 1)


def test_numbers() -> None:
    assert finite_number(1, "here") == 1.0
    assert finite_number(10**300, "here") == 1e300
    assert whole_number(3, "here") == 3
    for value in (True, 1.0, -1, 2**63, 10**5000):
        with pytest.raises(UntrustedError, match=r"here is .*whole number from 0 to"):
            whole_number(value, "here")


ALLOWED = {
    ("keyface/untrusted.py", "loads"),
    # What the same process has just written.
    ("keyface/resume/session.py", "loads"),
    ("keyface/pipeline/video.py", "loads"),
    ("keyface/evaluation/clip_sets/rendered.py", "loads"),
}


def test_files_are_read_by_the_one_reader_alone() -> None:
    """No other `json.load(s)` and no other YAML loader of data files stands in the package."""
    root = Path(keyface.__file__).parents[1]
    found = set()
    for top in ("keyface", "datamodules", "lightning_modules", "callbacks", "plugins"):
        for path in (root / top).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
                    continue
                reads = node.value.id == "json" and node.attr in ("load", "loads", "JSONDecoder")
                reads |= node.value.id == "yaml" and node.attr.lower().endswith(("load", "loader"))
                reads |= node.value.id == "yaml" and node.attr.startswith(("safe_load", "full_load"))
                if reads:
                    found.add((path.relative_to(root).as_posix(), node.attr))
    assert found - ALLOWED == {("keyface/untrusted.py", "SafeLoader")}
