"""The server against hostile requests, and what it keeps of honest ones."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from keyface.study.answers import gather
from keyface.study.folder import Study
from keyface.study.serving.public import UnsatisfiableError, wanted_part
from keyface.study.serving.server import StudyServer, serving

RATER = "0123456789abcdef" * 2
TOKEN = "a-token-of-24-letters-aa"


def ask(
    server: StudyServer, path: str, method: str = "GET", body: Any = None, **headers: str
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(*server.server_address[:2], timeout=10)  # type: ignore[arg-type]
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    data = json.dumps(body) if isinstance(body, dict | list) else body
    if data is not None:
        given.setdefault("Content-Type", "application/json")
    connection.request(method, path, data, given)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def post(server: StudyServer, path: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    answer, content = ask(server, path, "POST", body, **headers)
    return answer.status, json.loads(content)


def begin(server: StudyServer, rater: str = RATER) -> int:
    status, told = post(server, "/api/begin", {"study": server.study.digest, "rater": rater})
    assert status == 200
    return int(told["booklet"])


def answer_of(server: StudyServer, order: int, place: int = 0, **changed: Any) -> dict[str, Any]:
    trial = server.study.booklets[order][place]
    head = {"study": server.study.digest, "rater": RATER, "booklet": order}
    return head | {"trial": trial, "realism": 7, "identity": 8, "seconds": 3.5} | changed


def kept(server: StudyServer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.study.answers.read_text().splitlines()]


def test_the_page_and_its_videos_are_served_with_a_policy(server: StudyServer) -> None:
    for name in sorted(server.study.public):
        answer, content = ask(server, f"/{name}")
        assert answer.status == 200
        assert content == (server.study.folder / "public" / name).read_bytes()
        assert "script-src 'self'" in str(answer.getheader("Content-Security-Policy"))
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert ask(server, "/")[1] == ask(server, "/index.html")[1]
    answer, content = ask(server, "/index.html", "HEAD")
    assert (answer.status, content) == (200, b"")
    assert int(str(answer.getheader("Content-Length"))) > 1000


@pytest.mark.parametrize(
    "path",
    [
        "/key.json",
        "/study.json",
        "/answers.jsonl",
        "/../key.json",
        "/media/../../key.json",
        "/%2e%2e/key.json",
        "/..%2fkey.json",
        "/media/..%2f..%2fkey.json",
        "/media//../../key.json",
        "//etc/passwd",
        "/etc/passwd",
        "/media/",
        "/media",
        "/index.html/",
        "/./index.html",
        "/media/%00.mp4",
        "/index.html%00",
        "//[",
        "/api/begin",
        "/.lock",
        "http://127.0.0.1/key.json",
        "\\..\\key.json",
    ],
)
def test_nothing_else_can_be_read(server: StudyServer, path: str) -> None:
    connection = socket.create_connection(server.server_address[:2], timeout=10)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = b""
    while part := connection.recv(65536):
        answer += part
    connection.close()
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"stit" not in answer
    assert b"root:" not in answer


def test_links_are_not_followed(server: StudyServer, tmp_path: Path) -> None:
    public = server.study.folder / "public"
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"secret")
    name = next(name for name in sorted(server.study.public) if name.startswith("media/"))
    (public / name).unlink()
    (public / name).symlink_to(secret)
    assert ask(server, f"/{name}")[0].status == 404
    (public / name).unlink()
    os.mkfifo(public / name)
    assert ask(server, f"/{name}")[0].status == 404, "and no pipe is waited for"
    (public / name).unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / Path(name).name).write_bytes(b"secret")
    (public / "media").rename(public / "before")
    (public / "media").symlink_to(elsewhere)
    assert ask(server, f"/{name}")[0].status == 404
    assert ask(server, "/index.html")[0].status == 200
    public.rename(tmp_path / "moved")
    public.symlink_to(tmp_path / "moved")
    assert ask(server, "/index.html")[0].status == 404


def test_answers_are_on_the_disk_before_the_browser_is_told(server: StudyServer) -> None:
    booklet = begin(server)
    status, told = post(server, "/api/answer", answer_of(server, booklet))
    assert (status, told) == (200, {"kept": True})
    first, second = kept(server)
    assert first == {"study": server.study.digest, "rater": RATER, "booklet": booklet}
    assert second == answer_of(server, booklet), "and nothing more: no address, no browser, no time"
    assert post(server, "/api/answer", answer_of(server, booklet))[0] == 200
    assert len(kept(server)) == 2, "what is sent again is there once"
    status, told = post(server, "/api/answer", answer_of(server, booklet, realism=2))
    assert status == 409
    assert len(kept(server)) == 2
    status, told = post(server, "/api/begin", {"study": server.study.digest, "rater": RATER})
    assert told["booklet"] == booklet
    trial = server.study.booklets[booklet][0]
    assert told["answers"] == [{"trial": trial, "realism": 7, "identity": 8, "seconds": 3.5}]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"realism": 0}, "realism is 0; it must be a whole number from 1 to 10"),
        ({"realism": 11}, "realism is 11"),
        ({"realism": 7.0}, "realism is 7.0"),
        ({"realism": True}, "realism is True"),
        ({"identity": "8"}, "identity is '8'"),
        ({"identity": None}, "identity is None"),
        ({"seconds": -1}, "seconds is -1"),
        ({"seconds": 1e9}, "seconds is"),
        ({"trial": 999}, "trial is 999"),
        ({"trial": -1}, "trial is -1"),
        ({"booklet": 99}, "booklet is 99"),
        ({"rater": "../../x"}, "it must be 32 hexadecimal digits"),
        ({"rater": RATER.upper()}, "it must be 32 hexadecimal digits"),
        ({"rater": 7}, "it must be 32 hexadecimal digits"),
        ({"study": "0" * 32}, "made anew"),
        ({"name": "Anna"}, "must be an object with"),
    ],
)
def test_answers_that_are_none_are_refused(server: StudyServer, changed: dict[str, Any], said: str) -> None:
    booklet = begin(server)
    status, told = post(server, "/api/answer", answer_of(server, booklet, **changed))
    assert status == 400
    assert said in told["error"]
    assert len(kept(server)) == 1


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "7",
        '"x"',
        "null",
        '{"study": NaN}',
        "[" * 900,
        '{"rater": "a", "rater": "b"}',
        "\ud800".encode("utf-8", "surrogatepass"),
        b"\xff\xfe\x00",
        '{"trial": ' + "9" * 400 + "}",
    ],
)
def test_what_is_no_json_is_refused(server: StudyServer, body: str | bytes) -> None:
    for path in ("/api/answer", "/api/begin"):
        status, told = post(server, path, body)
        assert status == 400
        assert "\n" not in told["error"]
    assert kept(server) == []


def test_practice_and_trials_of_other_booklets_are_no_answers(server: StudyServer) -> None:
    booklet = begin(server)
    (practice,) = (number for number, each in enumerate(server.study.trials) if each.made == "practice")
    assert post(server, "/api/answer", answer_of(server, booklet, trial=practice))[0] == 400
    other = (booklet + 1) % len(server.study.booklets)
    assert post(server, "/api/answer", answer_of(server, booklet, booklet=other))[0] == 409
    assert post(server, "/api/answer", answer_of(server, booklet, rater="f" * 32))[0] == 409
    assert len(kept(server)) == 1


def test_a_huge_body_is_refused_unread(server: StudyServer) -> None:
    connection = socket.create_connection(server.server_address[:2], timeout=10)
    head = "POST /api/answer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: 3000000000\r\n\r\n".encode() + b"x" * 1000)
    assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
    connection.close()
    for length in ("-1", "1e3", "0x10", "9" * 30):
        connection = socket.create_connection(server.server_address[:2], timeout=10)
        connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 411 "), length
        connection.close()
    connection = socket.create_connection(server.server_address[:2], timeout=10)
    connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".encode())
    assert connection.recv(65536).startswith(b"HTTP/1.1 411 ")
    connection.close()
    assert ask(server, "/index.html")[0].status == 200


def test_other_sites_cannot_send(server: StudyServer) -> None:
    booklet = begin(server)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        status, _ = post(server, "/api/answer", answer_of(server, booklet), Content_Type=kind)
        assert status == 415, "a form of another site could send this"
    assert ask(server, "/api/answer", "OPTIONS")[0].status == 501, "no other site is allowed to send JSON"
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", ""):
        assert ask(server, "/index.html", Host=host)[0].status == 421, host
        assert post(server, "/api/answer", answer_of(server, booklet), Host=host)[0] == 421, host
    for host in ("localhost", "localhost:99", "127.0.0.1:8360", "[::1]:8360"):
        assert ask(server, "/index.html", Host=host)[0].status == 200, host
    assert len(kept(server)) == 1


@pytest.fixture
def guarded(study: Study) -> Iterator[StudyServer]:
    with serving(StudyServer(study, "127.0.0.1", 0, TOKEN)) as running:
        yield running


def test_with_a_token_nothing_is_served_without_it(guarded: StudyServer) -> None:
    assert guarded.address.endswith(f"/?token={TOKEN}")
    body = {"study": guarded.study.digest, "rater": RATER}
    name = f"keyface_{guarded.study.digest[:8]}"
    for headers in ({}, {"Cookie": f"{name}=wrong"}, {"Cookie": "§"}, {"Cookie": f"{name}={TOKEN}a"}):
        for path in (
            "/",
            "/index.html",
            "/plan.json",
            "/?token=wrong",
            "/?token=",
            "/plan.json?token=" + TOKEN,
        ):
            assert ask(guarded, path, **headers)[0].status == 401
        assert post(guarded, "/api/begin", body, **headers)[0] == 401
    answer, _ = ask(guarded, f"/?token={TOKEN}")
    assert (answer.status, answer.getheader("Location")) == (303, "/")
    cookie = str(answer.getheader("Set-Cookie"))
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    brought = {"Cookie": cookie.partition(";")[0]}
    assert ask(guarded, "/", **brought)[0].status == 200
    assert post(guarded, "/api/begin", body, **brought)[0] == 200


def test_parts_of_a_video_as_players_ask_for_them(server: StudyServer) -> None:
    name = next(name for name in sorted(server.study.public) if name.startswith("media/"))
    whole = (server.study.folder / "public" / name).read_bytes()
    answer, content = ask(server, f"/{name}", Range="bytes=10-19")
    assert (answer.status, content) == (206, whole[10:20])
    assert answer.getheader("Content-Range") == f"bytes 10-19/{len(whole)}"
    assert ask(server, f"/{name}", Range="bytes=-7")[1] == whole[-7:]
    assert ask(server, f"/{name}", Range="bytes=5-")[1] == whole[5:]
    assert ask(server, f"/{name}", Range=f"bytes={len(whole)}-")[0].status == 416
    assert ask(server, f"/{name}", Range="bytes=9-5")[0].status == 416
    for several in ("bytes=0-1,4-5", "items=0-1", "bytes=-", "bytes=" + "9" * 5000 + "-"):
        assert ask(server, f"/{name}", Range=several)[1] == whole


def test_wanted_part() -> None:
    assert wanted_part("bytes=0-0", 5) == (0, 1)
    assert wanted_part("bytes=-9", 5) == (0, 5)
    assert wanted_part("bytes=3-99", 5) == (3, 5)
    for header, size in (("bytes=0-", 0), ("bytes=5-9", 5), ("bytes=-0", 5)):
        with pytest.raises(UnsatisfiableError):
            wanted_part(header, size)


def test_newcomers_get_the_booklet_that_was_used_least(study: Study) -> None:
    count = len(study.booklets)
    assert count == 4
    with serving(StudyServer(study, "127.0.0.1", 0, None)) as server:
        given = [begin(server, f"{number:032x}") for number in range(2 * count)]
        assert sorted(given) == sorted([*range(count), *range(count)])
        first = f"{0:032x}"
        for place in range(len(study.booklets[given[0]])):
            assert post(server, "/api/answer", answer_of(server, given[0], place, rater=first))[0] == 200
    with serving(StudyServer(study, "127.0.0.1", 0, None)) as server:
        assert begin(server, first) == given[0], "who comes back keeps the order"
        after = [begin(server, f"{number:032x}") for number in range(100, 100 + count)]
        # those who began before the server stopped, and did not finish, are taken to have left
        assert sorted(after) == sorted({*range(count)} - {given[0]} | {after[-1]})


def test_many_at_once_lose_nothing(server: StudyServer) -> None:
    def rate(number: int) -> None:
        rater = f"{number:032x}"
        booklet = begin(server, rater)
        for place in range(len(server.study.booklets[booklet])):
            assert post(server, "/api/answer", answer_of(server, booklet, place, rater=rater))[0] == 200

    threads = [threading.Thread(target=rate, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    raters = gather([server.study.answers], server.study)
    assert len(raters) == 12
    assert all(len(rater.answers) == len(server.study.booklets[0]) for rater in raters.values())


def test_half_a_line_of_a_power_cut_is_cut_off_and_a_whole_one_ended(study: Study) -> None:
    with serving(StudyServer(study, "127.0.0.1", 0, None)) as server:
        booklet = begin(server)
        post(server, "/api/answer", answer_of(server, booklet))
    whole = study.answers.read_bytes()
    for left in (whole + whole[:50], whole[:-1]):
        study.answers.write_bytes(left)
        with serving(StudyServer(study, "127.0.0.1", 0, None)) as server:
            assert begin(server) == booklet
            assert study.answers.read_bytes() == whole
            assert post(server, "/api/answer", answer_of(server, booklet, 1))[0] == 200
            assert len(kept(server)) == 3
        study.answers.write_bytes(whole)


def test_a_full_disk_is_said_and_leaves_no_half_line(
    server: StudyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    booklet = begin(server)
    before = server.study.answers.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, told = post(server, "/api/answer", answer_of(server, booklet))
    assert status == 503
    assert "try again" in told["error"]
    assert server.study.answers.read_bytes() == before
    monkeypatch.undo()
    assert post(server, "/api/answer", answer_of(server, booklet))[0] == 200


def test_a_stopped_server_leaves_no_connection_waiting(study: Study) -> None:
    with serving(StudyServer(study, "127.0.0.1", 0, None)) as server:
        connection = HTTPConnection(*server.server_address[:2], timeout=10)  # type: ignore[arg-type]
        connection.request("GET", "/study.css")
        assert connection.getresponse().read()
        idle = connection.sock
        assert idle is not None
    assert idle.recv(1) == b"", "it is closed"
    connection.close()
    with pytest.raises(ConnectionError):
        ask(server, "/")
