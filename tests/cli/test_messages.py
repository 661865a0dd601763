"""Errors in one line."""

from keyface.cli.messages import one_line


def test_an_error_of_a_config_s_class_is_told_without_its_wrapping() -> None:
    wrapped = ValueError(
        "Does not validate against any of the Union subtypes\nSubtypes: [A, B]\nErrors:\n"
        "  - missing weights: blip2\n  - Expected a <class 'NoneType'>\nGiven value type: A\nGiven value: a"
    )
    assert one_line(wrapped) == "missing weights: blip2"
    assert one_line(KeyError("no such\nthing")) == "no such thing"
