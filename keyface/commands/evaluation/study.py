"""`keyface study`: an opinion study from edited videos to a table, blind and with a rule stated before."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def new(protocol: Path, output: Path, *, methods: list[str]) -> None:
    """Make an opinion study: a page on which people rate edited videos without knowing whose they are.

    The protocol is a JSON or YAML file:

        {"schema": "keyface-study/1", "clips": [
            {"id": "anna", "source": "anna.mp4", "edits": ["glasses"]},
            {"id": "ben", "source": "ben.mp4", "prompt": "a man with a beard"}]}

    It may also have title, raters, seed, practice, checks, and exclusion, the rule by which raters are left
    out: failed_checks, unedited_identity_at_least, broken_realism_at_most and answered_at_least. Each method
    has a folder with a video CLIP_ID.mp4 for each clip, as `keyface batch` and `keyface evaluate` write them.

    Everything is checked first. Videos that browsers play are copied as they are; where one of a clip is no
    such, all of that clip are encoded alike.

    Args:
        protocol: The clips, and how the study is made.
        output: Folder for the study; it must not exist, or be empty.
        methods: Whose edits are compared, each as NAME=FOLDER.

    Raises:
        ValueError: The protocol or a video is wrong.
        FileNotFoundError: The protocol is missing, or videos are; one line names all of them.
    """
    from keyface.progress import say
    from keyface.study.making import make_study
    from keyface.study.material import gather, parse_methods
    from keyface.study.protocol import read_protocol

    asked, compared = read_protocol(protocol), parse_methods(methods)
    made = make_study(asked, gather(asked, compared), output)
    trials, edits = len(made.booklets[0]), len(made.clips) * len(made.methods)
    say(f"the rule, stated now: {made.rule.words}")
    say(
        f"wrote {output}: {trials} trials a rater ({edits} edits, {trials - edits} checks), "
        f"{len(made.booklets)} orders"
    )
    say(f"next: keyface study serve {output}; {output / 'key.json'} says whose is which, keep it to yourself")


def serve(study: Path, host: str = "127.0.0.1", port: int = 8360, token: str | None = None) -> None:
    """Serve a study's page, and append what raters answer to STUDY/answers.jsonl, until Ctrl-C.

    Only the page and its videos can be read. Nothing is kept about raters but a random number. Unless --host
    is this machine itself, browsers need a token, which stands in the address that is printed. The connection
    is not encrypted: over the internet put a server with TLS in front.

    The folder STUDY/public may as well lie on any server for files: raters then download their answers at the
    end, and `keyface study report` takes the files.

    Args:
        study: The study's folder.
        host: Address to listen at.
        port: Port to listen at; 0 takes a free one.
        token: The token, at least 16 letters, digits, - or _; a new one each time if not given.

    Raises:
        ValueError: The study was changed since it was made, or another process serves it.
        OSError: Nothing can listen there.
    """
    import re

    from keyface.locking import alone_in
    from keyface.progress import say
    from keyface.study.folder import Study
    from keyface.study.serving.handler import is_loopback
    from keyface.study.serving.server import StudyServer, new_token, serving

    if not 0 <= port <= 65_535:
        raise ValueError(f"--port {port}: it must be from 0 to 65535")
    if token is not None and not re.fullmatch(r"[A-Za-z0-9_-]{16,200}", token):
        raise ValueError("--token: give at least 16 letters, digits, - or _, or leave it out for a new one")
    if token is None and not is_loopback(host):
        token = new_token()
    found = Study.read(study)
    with alone_in(study), serving(StudyServer(found, host, port, token)) as server:
        began = len(server.answers.raters)
        say(f"{server.address} has the study; {began} raters began so far; Ctrl-C stops")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            count = sum(len(rater.answers) for rater in server.answers.raters.values())
            say(f"stopped: {count} answers of {len(server.answers.raters)} raters are in {found.answers}")


def report(
    study: Path,
    answers: tuple[Path, ...] = (),
    scores: Path | None = None,
    seed: int = 0,
    json: bool = False,
) -> None:
    r"""Say what raters answered: means with intervals, differences, agreement, a row for a paper.

    Means are over raters and clips, and so are their 95 % intervals: both are drawn anew. The score is the
    mean of realism and identity. Raters are left out by the rule in study.json alone, and how many is said.

    Args:
        study: The study's folder.
        answers: Files of answers that raters downloaded; STUDY/answers.jsonl is read if it is there.
        scores: results.json of `keyface evaluate`, for the temporal loss in Table 3's rows.
        seed: Of the intervals.
        json: Print JSON, and nothing else on stdout.

    Raises:
        FileNotFoundError: The study or a file is missing, or nobody answered.
        ValueError: A line is no answer to this study, or nobody's answers count.
    """
    from keyface.commands.console import print_json
    from keyface.study.answers import gather
    from keyface.study.folder import Study
    from keyface.study.report import latex, read_temporal
    from keyface.study.report import report as report_of

    found = Study.read(study)
    temporal = {} if scores is None else read_temporal(scores)
    files = [*([found.answers] if found.answers.exists() else []), *answers]
    if not files:
        raise FileNotFoundError(f"{found.answers}: nobody answered yet; `keyface study serve {study}`")
    said = report_of(found, gather(files, found), seed)
    said["latex"] = latex(said, temporal)
    if json:
        print_json(said)
    else:
        print("\n".join(_lines(said)))


def _lines(said: Mapping[str, Any]) -> Iterator[str]:
    from keyface.commands.console import columns
    from keyface.study.answers import QUESTIONS
    from keyface.study.report import OVERALL, shown

    raters = said["raters"]
    yield (
        f"{said['title']}: {raters['began']} raters began, {raters['kept']} count; left out: "
        f"{raters['unfinished']} did not finish, {raters['failed_checks']} failed checks"
    )
    yield f"Rule, stated before: {said['rule_in_words']}."
    yield ""
    heads = ("method", "n", "score", *QUESTIONS)
    asked = (OVERALL, *QUESTIONS)
    rows = [
        (row["method"], str(row[OVERALL]["n"]), *(shown(row[name]) for name in asked))
        for row in said["methods"]
    ]
    yield columns([heads, *rows])
    if said["differences"]:
        yield ""
        rows = [
            (f"{row['method']} - {row['minus']}", *(shown(row[name], signed=True) for name in asked))
            for row in said["differences"]
        ]
        yield columns([("difference", "score", *QUESTIONS), *rows])
    yield ""
    levels = ("ordinal", "interval")
    rows = [(name, *map(_alpha, (said["agreement"][name][level] for level in levels))) for name in QUESTIONS]
    yield columns([("Krippendorff's alpha", *levels), *rows])
    yield ""
    yield "Table 3 (method & temporal loss & mean opinion score):"
    yield said["latex"]


def _alpha(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
