from pathlib import Path

import pytest

from keyface.commands import plugins


def test_list_names_every_category_and_its_package(capsys: pytest.CaptureFixture[str]) -> None:
    plugins.list_categories()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["edit", "writes", "label", "after", "needs", "from"]
    row = next(line for line in lines if line.startswith("no-glasses "))
    assert row.split() == ["no-glasses", "without", "glasses", "Eyeglasses=no", "-", "keyface"]


def test_show_gives_all_fields_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    plugins.show("beard")
    text = capsys.readouterr().out
    assert "a photo of a person, no beard -> a photo of a person, with a full beard" in text
    for field in ("targets", "regions", "conflicts", "strength", "needs"):
        assert field in text
    with pytest.raises(ValueError, match="did you mean 'beard'"):
        plugins.show("beerd")


def test_check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plugins.check()
    assert "from keyface are fine" in capsys.readouterr().out
    path = tmp_path / "edits.yaml"
    path.write_text(
        "freckles: {targets: [freckles], source: clear skin, attribute: Rosy_Cheeks, conflicts: [maekup]}"
    )
    with pytest.raises(ValueError, match="'freckles' conflicts with 'maekup', which does not exist"):
        plugins.check(path)
    path.write_text("freckles: {targets: [freckles], source: clear skin, attribute: Rosy_Cheeks}")
    plugins.check(path)
    assert "freckles can be used" in capsys.readouterr().out
    from keyface.plugins import edits

    assert "freckles" not in edits, "checking installs nothing"
