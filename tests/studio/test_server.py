"""The studio over HTTP: what Gradio's client can do, and what nobody can."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from studio_server import Served, serving

httpx = pytest.importorskip("httpx")
gradio_client = pytest.importorskip("gradio_client", reason="the extra `studio` is not installed")

TINY = {"edits": ["glasses"], "steps": 2}
LONG = {"edits": ["glasses"], "steps": 16}


def client_of(served: Served, folder: Path) -> Any:
    headers = None if served.token is None else {"Authorization": f"Bearer {served.token}"}
    return gradio_client.Client(
        served.url, verbose=False, analytics_enabled=False, headers=headers, download_files=folder
    )


def wait_for(client: Any, job: str, *states: str) -> dict[str, Any]:
    end = time.monotonic() + 600
    while (found := client.predict(job=job, api_name="/status"))["state"] not in states:
        assert time.monotonic() < end, found
        time.sleep(0.2)
    return dict(found)


def upload(served: Served, content: bytes, name: str = "a.mp4", **headers: str) -> Any:
    return httpx.post(
        f"{served.url}gradio_api/upload", files={"files": (name, content)}, headers=headers, timeout=60
    )


def file_of(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def call(served: Served, name: str, data: list[Any]) -> Any:
    return httpx.post(f"{served.url}gradio_api/call/{name}", json={"data": data}, timeout=60)


def test_other_programs_edit_watch_stop_go_on_and_fetch(
    served: Served, short_clip: Path, tmp_path: Path
) -> None:
    client = client_of(served, tmp_path / "fetched")
    clip = gradio_client.handle_file(str(short_clip))
    job = client.predict(clip=clip, **LONG, api_name="/edit")
    assert job["clip"] == "short.mp4"
    assert job["options"] == {"edits": ["glasses"], "steps": 16, "person": "1"}
    end = time.monotonic() + 300
    while client.predict(job=job["id"], api_name="/status")["stage"] not in ("invert", "edit"):
        assert time.monotonic() < end
    client.predict(job=job["id"], api_name="/cancel")
    stopped = wait_for(client, job["id"], "stopped", "done", "failed")
    assert stopped["state"] == "stopped"
    folder = served.workspace / "edits" / job["id"]
    assert (folder / "edited.mp4.state" / "clip-1" / "journal.json").exists()
    with pytest.raises(Exception, match="this edit is stopped; it has no result"):
        client.predict(job=job["id"], api_name="/result")
    second = client.predict(clip=clip, **TINY, api_name="/edit")
    client.predict(job=job["id"], api_name="/resume")
    assert wait_for(client, second["id"], "done", "failed")["state"] == "done"
    done = wait_for(client, job["id"], "done", "failed")
    assert (done["state"], done["fraction"]) == ("done", 1.0)
    video, mask, record = (Path(each) for each in client.predict(job=job["id"], api_name="/result"))
    assert tmp_path in video.parents
    assert json.loads(record.read_text())["edits"] == ["glasses"]
    assert video.read_bytes() == (folder / "edited.mp4").read_bytes()
    assert mask.read_bytes() == (folder / "mask.mp4").read_bytes()
    assert {each["id"] for each in client.predict(api_name="/list")} >= {job["id"], second["id"]}
    client.predict(job=second["id"], api_name="/remove")
    assert not (served.workspace / "edits" / second["id"]).exists()
    with pytest.raises(Exception, match="no such edit"):
        client.predict(job=second["id"], api_name="/status")
    for words, said in (
        ({"edits": ["glasses"], "prompt": "x"}, "one of the two"),
        ({"prompt": "x" * 600}, "at most 500"),
        ({"edits": ["glasses"], "person": "/etc/passwd"}, "it must be a number"),
        ({"edits": ["no-such"]}, "no-such"),
    ):
        with pytest.raises(Exception, match=said):
            client.predict(clip=clip, **words, api_name="/edit")
    nobody = client.predict(clip=clip, edits=["glasses"], person="9", steps=2, api_name="/edit")
    assert "person 9" in wait_for(client, nobody["id"], "failed", "done")["line"]


@pytest.mark.parametrize(
    "name",
    ["../../../evil.mp4", "..\\..\\evil.mp4", "/etc/evil.mp4", "%2e%2e%2fevil.mp4", "a\nb.mp4", ".lock"],
)
def test_names_of_uploads_lead_nowhere_else(served: Served, name: str) -> None:
    before = {path for path in served.workspace.parent.rglob("*") if served.workspace not in path.parents}
    answer = upload(served, name.encode(), name)
    if answer.status_code == 200:
        (path,) = answer.json()
        assert Path(path).resolve().is_relative_to(served.workspace.resolve())
        assert Path(path).parent != served.workspace
        assert Path(path).read_bytes() == name.encode()
    else:
        assert answer.status_code == 400
    after = {path for path in served.workspace.parent.rglob("*") if served.workspace not in path.parents}
    assert after == before
    assert not list(Path("/etc").glob("evil*"))


def test_files_outside_are_not_read(served: Served, short_clip: Path) -> None:
    secret = served.workspace.parent / "secret.mp4"
    secret.write_bytes(short_clip.read_bytes())
    inside = upload(served, short_clip.read_bytes(), "inside.mp4").json()[0]
    link = Path(inside).with_name("link.mp4")
    os.symlink(secret, link)
    with httpx.Client(base_url=served.url) as http:
        assert http.get(f"/gradio_api/file={inside}").content == short_clip.read_bytes()
        for path in (
            "/etc/passwd",
            str(secret),
            str(link),
            f"{served.workspace}/../secret.mp4",
            f"{served.workspace}/%2e%2e/secret.mp4",
            f"{served.workspace}/..%2fsecret.mp4",
            f"{served.workspace}%00",
            "../secret.mp4",
            "secret.mp4",
            f"{served.workspace}",
            "http://127.0.0.1:1/a.mp4",
            "https://example.org/a.mp4",
            "file:///etc/passwd",
        ):
            answer = http.get(f"/gradio_api/file={path}")
            assert answer.status_code in (400, 403, 404), path
            assert answer.content != short_clip.read_bytes()
            assert b"root:" not in answer.content
        for path in (
            "/gradio_api/proxy=https://example.org/a",
            "/gradio_api/runs",
            "/gradio_api/vibe-code",
            "/gradio_api/file/etc/passwd",
            "/gradio_api/dev/reload",
            "/monitoring",
            "/?deep_link=../../secret",
            "/gradio_api/deep_link",
            "/docs",
            "/login",
        ):
            assert http.get(path).status_code == 404, path


@pytest.mark.parametrize("name", ["edit", "status"])
def test_requests_cannot_name_files_outside(served: Served, short_clip: Path, name: str) -> None:
    link = Path(upload(served, name.encode()).json()[0]).with_name("link.mp4")
    os.symlink(short_clip, link)
    for path in (
        "/etc/passwd",
        str(short_clip),
        str(link),
        f"{served.workspace}/../x.mp4",
        "http://127.0.0.1:9/a.mp4",
    ):
        data = [file_of(path), ["glasses"], "", "", "1", None, None, 2, None]
        for words in (data, [[{"deep": data[0]}], *data[1:]]):
            answer = call(served, name, words)
            assert (answer.status_code, "no such file in the workspace" in answer.text) == (400, True)
    assert not [path for path in served.workspace.rglob("*") if path.name == "passwd"]


def test_requests_that_are_no_requests_are_refused(served: Served) -> None:
    with httpx.Client(base_url=served.url) as http:
        join = "/gradio_api/queue/join"
        assert http.post(join, content=b"{").status_code == 400
        assert http.post(join, content=b'{"a": ' * 100 + b"1" + b"}" * 100).status_code == 400
        assert http.post(join, content=b" " * (2**20 + 1)).status_code == 413
        assert http.put(join, content=b"{}").status_code == 404
        answer = http.post(join, json={}, headers={"origin": "https://evil.example"})
        assert (answer.status_code, "other sites" in answer.text) == (403, True)
        for host in ("evil.example", f"evil.example:{served.port}", ""):
            assert http.get("/config", headers={"host": host}).status_code == 403
        assert http.get("/config", headers={"host": f"localhost:{served.port}"}).status_code == 200
        policy = http.get("/").headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "http" not in policy


def test_uploads_beyond_the_limits_are_refused(served: Served) -> None:
    """The limit is 3 MB here in place of 2 GB, and the workspace's 60 MB in place of 20 GB."""
    assert upload(served, b"x" * 2_900_000).status_code == 200
    assert upload(served, b"x" * 3_001_000).status_code == 413
    too_large = upload(served, b"x" * 4_000_000)
    assert (too_large.status_code, "at most 3 MB" in too_large.text) == (413, True)

    def parts() -> Iterator[bytes]:
        yield b"x" * 1000

    unknown = httpx.post(f"{served.url}gradio_api/upload", content=parts())
    assert unknown.status_code == 411
    full = served.workspace / "ballast"
    try:
        full.write_bytes(b"")
        os.truncate(full, 59_000_000)
        answer = upload(served, b"x" * 2_000_000)
        assert (answer.status_code, "remove edits" in answer.text) == (507, True)
    finally:
        full.unlink()


def test_a_hundred_uploads_at_once_all_arrive(served: Served) -> None:
    contents = [bytes([number]) * (1000 + number) for number in range(100)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda each: upload(served, each, "same name.mp4"), contents))
    assert [answer.status_code for answer in answers] == [200] * 100
    paths = [Path(answer.json()[0]) for answer in answers]
    assert len(set(paths)) == 100
    assert [path.read_bytes() for path in paths] == contents


def test_other_machines_need_the_token(tmp_path: Path, short_clip: Path) -> None:
    with serving(tmp_path / "work", "--host", "0.0.0.0", "--limits.rate", "40") as served:
        assert served.token is not None
        assert len(served.token) >= 24
        url = served.url.replace("0.0.0.0", "127.0.0.1")
        served = Served(url, served.token, served.workspace, served.process)
        with httpx.Client(base_url=url) as http:
            for path in (
                "/",
                "/config",
                "/gradio_api/info",
                "/assets/x.js",
                f"/gradio_api/file={short_clip}",
            ):
                assert http.get(path).status_code == 401, path
            assert http.post("/gradio_api/queue/join", json={}).status_code == 401
            assert upload(served, b"x").status_code == 401
            assert http.get("/?token=wrong").status_code == 401
            assert http.get("/config", headers={"authorization": "Bearer wrong"}).status_code == 401
            answer = http.get(f"/?token={served.token}")
            assert (answer.status_code, answer.headers["location"]) == (303, "/")
            cookie = answer.headers["set-cookie"].lower()
            assert "httponly" in cookie
            assert "samesite=strict" in cookie
            assert http.get("/config").status_code == 200, "the cookie is enough now"
        client = client_of(served, tmp_path)
        clip = gradio_client.handle_file(str(short_clip))
        job = client.predict(clip=clip, **TINY, api_name="/edit")
        assert job["state"] in ("waiting", "running")
        answers = [call(served, "list", []).status_code for _ in range(60)]
        assert 429 in answers
        assert set(answers) <= {401, 429}, "the rate is counted before the token is looked at"


def test_a_killed_studio_goes_on_where_it_was(tmp_path: Path, short_clip: Path) -> None:
    workspace = tmp_path / "work"
    with serving(workspace) as served:
        client = client_of(served, tmp_path)
        clip = gradio_client.handle_file(str(short_clip))
        jobs = [client.predict(clip=clip, **each, api_name="/edit")["id"] for each in (LONG, TINY)]
        journal = workspace / "edits" / jobs[0] / "edited.mp4.state" / "clip-1" / "journal.json"
        end = time.monotonic() + 300
        while not journal.exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        served.process.send_signal(signal.SIGKILL)
        served.process.wait()
    with serving(workspace) as served:
        client = client_of(served, tmp_path)
        assert [each["id"] for each in client.predict(api_name="/list")] == jobs
        for job in jobs:
            assert wait_for(client, job, "done", "failed")["state"] == "done"
