"""Addresses and tokens, and what is refused before anything is read."""

from importlib import util
from pathlib import Path

import pytest

from keyface.cli.main import main
from keyface.studio.serve import address_of, hosts_of, is_loopback, listening, token_for

ALONE = ("127.0.0.1", "127.9.9.9", "localhost", "::1")
OTHERS = ("0.0.0.0", "::", "192.168.1.2", "example.org", "")


@pytest.mark.parametrize(
    ("host", "alone"), [*((host, True) for host in ALONE), *((host, False) for host in OTHERS)]
)
def test_who_can_reach_it(host: str, alone: bool) -> None:
    assert is_loopback(host) == alone
    assert (token_for(host, None) is None) == alone
    assert (hosts_of(host) is None) == (not alone)
    assert token_for(host, "x" * 16) == "x" * 16
    with pytest.raises(ValueError, match="shorter than 16"):
        token_for(host, "x" * 15)


def test_each_token_is_another() -> None:
    made = {token_for("0.0.0.0", None) for _ in range(20)}
    assert len(made) == 20
    assert all(len(str(token)) >= 32 for token in made)


def test_addresses() -> None:
    assert address_of("127.0.0.1", 7860, None) == "http://127.0.0.1:7860/"
    assert address_of("::1", 80, "t") == "http://[::1]:80/?token=t"


def test_a_port_in_use_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with listening("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match="--port 0 is a free one"):
            listening("127.0.0.1", port)
    with pytest.raises(ValueError, match="--host"):
        listening("256.0.0.1", 0)


def test_bad_requests_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio", reason="the extra `studio` is not installed")
    (tmp_path / "file").touch()
    for words, said in (
        (["--workspace", str(tmp_path / "file" / "w")], "is a file, where a folder is needed"),
        (["--limits.seconds", "-1"], "limits.seconds is -1; it must be above 0"),
        (["--token", "short"], "--token is shorter than 16 characters"),
        (["--weights", "no/such/weights"], "no/such/weights"),
    ):
        monkeypatch.chdir(tmp_path)
        assert main(["studio", "--port", "0", *words]) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
        assert said in line


def test_without_the_extra_one_line_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = util.find_spec
    monkeypatch.setattr(
        util, "find_spec", lambda name, *more: None if name == "gradio" else found(name, *more)
    )
    monkeypatch.chdir(tmp_path)
    assert main(["studio"]) == 1
    assert capsys.readouterr().err == (
        "keyface: error: keyface studio needs gradio: pip install 'keyface[studio]'\n"
    )
    assert list(tmp_path.iterdir()) == []
