"""Errors in one line, and what Lightning says."""

import logging
import warnings
from pathlib import Path

import pytest

from keyface.cli.messages import one_line, quiet_lightning


def test_an_error_of_a_config_s_class_is_told_without_its_wrapping() -> None:
    wrapped = ValueError(
        "Does not validate against any of the Union subtypes\nSubtypes: [A, B]\nErrors:\n"
        "  - missing weights: blip2\n  - Expected a <class 'NoneType'>\nGiven value type: A\nGiven value: a"
    )
    assert one_line(wrapped) == "missing weights: blip2"
    assert one_line(KeyError("no such\nthing")) == "no such thing"


def test_of_a_long_message_beginning_and_end_are_told() -> None:
    """Errors quote values: the anchors of a YAML file of 300 bytes made a message of two million letters."""
    told = one_line(ValueError(f"a.yaml: settings is {['x'] * 500_000}; give a mapping"))
    assert told.startswith("a.yaml: settings is ['x', 'x'")
    assert told.endswith("'x', 'x']; give a mapping")
    assert len(told) < 1100
    assert one_line(ValueError("word " * 150)) == ("word " * 150).strip(), "what people write stays"


def test_lightnings_advertisements_are_left_out_and_the_rest_is_told(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    tip, fact = "Tip: For seamless cloud logging, try installing litlogger", "GPU available: False"
    with caplog.at_level(logging.INFO, logger.name):
        with quiet_lightning():
            logger.info(tip)
            logger.info(fact)
            warnings.warn("`isinstance(treespec, LeafSpec)` is deprecated", FutureWarning, stacklevel=1)
            warnings.warn("a warning of ours", UserWarning, stacklevel=1)
        logger.info(tip)
    assert [record.getMessage() for record in caplog.records] == [fact, tip], "quiet only inside"
    assert [str(each.message) for each in recwarn] == ["a warning of ours"]


def test_what_the_system_says_of_a_file_has_its_name_and_advice(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for path, said in (
        (file / "x", f"{file / 'x'}: a file stands where a folder is needed; give another place"),
        (tmp_path, f"{tmp_path}: is a folder; give the name of a file"),
        (tmp_path / ("x" * 300), f"{tmp_path / ('x' * 300)}: the name is too long; give a shorter one"),
    ):
        with pytest.raises(OSError, match=r"Errno") as caught:
            path.write_text("")
        assert one_line(caught.value) == said
