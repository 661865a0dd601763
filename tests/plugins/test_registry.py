from pathlib import Path

import pytest

from keyface.plugins import Category, EditError, PluginError, Registry, edits
from keyface.plugins.builtin import CATEGORIES

DIMPLES = """\
from keyface.plugins import Category

DIMPLES = Category("dimples", targets=("dimples",), source="smooth cheeks", attribute="Rosy_Cheeks")
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a package with a plugin on the path, as pip would."""

    def put(package: str, value: str, code: str) -> None:
        module = value.partition(":")[0]
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[keyface.edits]\nspots = {value}\n")
        monkeypatch.syspath_prepend(tmp_path)

    return put


def test_built_in_categories_come_through_the_entry_point() -> None:
    assert set(edits.names()) >= {category.name for category in CATEGORIES}
    assert edits["glasses"].attribute == "Eyeglasses"
    assert edits.origin("glasses") == "keyface"
    paper = (
        "young old man woman smile surprise anger sadness black-hair brown-hair blond-hair gray-hair bangs "
    )
    paper += "glasses sunglasses moustache beard goatee hat lipstick makeup earrings"
    assert set(paper.split()) <= set(edits.names())


def test_a_third_party_package_is_found(install) -> None:
    install("dimple-pack", "dimple_pack_ok:DIMPLES", DIMPLES)
    registry = Registry()
    assert registry["dimples"].targets == ("dimples",)
    assert registry.origin("dimples") == "dimple-pack"
    assert "glasses" in registry


def test_nothing_is_imported_before_a_name_is_asked_for(install) -> None:
    install("late-pack", "late_pack:X", "raise RuntimeError('imported')")
    registry = Registry()
    with pytest.warns(UserWarning, match="imported"):
        registry.names()


BROKEN = [
    ("broken-pack", "import no_such_module_at_all", "ModuleNotFoundError: No module named"),
    ("raising-pack", "raise SystemError('boom\\nand more')", "SystemError: boom and more"),
    ("leaving-pack", "import sys; sys.exit(0)", "fails on import with SystemExit: 0"),
    ("base-pack", "raise BaseException", "fails on import with BaseException: no message"),
    ("nameless-pack", "OTHER = 1", "AttributeError"),
    ("number-pack", "DIMPLES = 3", "is a int, not a Category"),
    ("mixed-pack", "DIMPLES = ['beard']", "holds a str among its categories"),
    ("generator-pack", "DIMPLES = (exit(3) for _ in 'a')", "fails on import with SystemExit: 3"),
    ("wrong-pack", DIMPLES.replace("Rosy_Cheeks", "Rosy_Cheek"), "did you mean 'Rosy_Cheeks'"),
    ("twice-pack", DIMPLES + "DIMPLES = [DIMPLES, DIMPLES]", "offers two edits named 'dimples'"),
    (
        "clash-pack",
        DIMPLES + "from dataclasses import replace\nDIMPLES = [DIMPLES, replace(DIMPLES, name='beard')]",
        "offers 'beard', which is the name of an edit from keyface",
    ),
]


@pytest.mark.parametrize(("package", "code", "said"), BROKEN, ids=[each[0] for each in BROKEN])
def test_a_broken_plugin_disables_only_itself(install, package: str, code: str, said: str) -> None:
    install(package, f"{package.replace('-', '_')}:DIMPLES", code)
    registry = Registry()
    with pytest.warns(UserWarning, match="is skipped") as warned:
        assert [registry[name] for name in registry.names()] == list(edits)
    (message,) = [str(each.message) for each in warned]  # once, not once a lookup
    assert said in message
    assert "plugin 'spots'" in message
    assert f"pip uninstall {package}" in message
    assert "\n" not in message
    for _ in range(2):
        with pytest.raises(PluginError) as caught:
            registry["spots"]
        assert said in str(caught.value)
        assert f"pip uninstall {package}" in str(caught.value)
    (broken,) = registry.broken()
    assert (broken.package, broken.name) == (package, "spots")


def test_all_edits_of_a_plugin_with_one_clash_are_skipped_and_named(install) -> None:
    code = DIMPLES + "from dataclasses import replace\nALL = [DIMPLES, replace(DIMPLES, name='beard')]\n"
    install("half-pack", "half_pack:ALL", code)
    registry = Registry()
    with pytest.raises(PluginError, match="half-pack"):
        registry["dimples"]
    with pytest.warns(UserWarning, match="half-pack"):
        assert registry.origin("beard") == "keyface"


def test_of_two_packages_with_one_name_the_second_is_skipped(install) -> None:
    for package in ("a-pack", "b-pack"):
        install(package, f"{package.replace('-', '_')}:DIMPLES", DIMPLES)
    registry = Registry()
    with pytest.warns(UserWarning, match="package 'b-pack' is skipped: it offers 'dimples'.* from a-pack"):
        assert registry.origin("dimples") == "a-pack"


def test_an_unknown_edit_may_be_that_of_a_broken_plugin(install) -> None:
    install("silent-pack", "silent_pack:DIMPLES", "1 / 0")
    registry = Registry()
    with (
        pytest.warns(UserWarning, match="is skipped"),
        pytest.raises(EditError, match=r"unknown edit 'moles'.*silent-pack"),
    ):
        registry["moles"]


def test_an_interruption_is_no_fault_of_a_plugin(install) -> None:
    install("slow-pack", "slow_pack:DIMPLES", "raise KeyboardInterrupt")
    registry = Registry()
    for _ in range(2):  # and no half of a registry is left behind
        with pytest.raises(KeyboardInterrupt):
            registry.names()


def test_a_package_without_metadata_has_no_name(install, tmp_path: Path) -> None:
    install("gone-pack", "gone_pack:DIMPLES", "1 / 0")
    (tmp_path / "gone-pack-1.0.dist-info" / "METADATA").unlink()
    registry = Registry()
    with pytest.warns(UserWarning, match="package 'unknown' is skipped"):
        assert "beard" in registry


def test_add_and_clash() -> None:
    registry = Registry(group=None)
    glasses = edits["glasses"]
    assert registry.add(glasses) is glasses
    with pytest.raises(EditError, match="rename it"):
        registry.add(glasses)
    with pytest.raises(EditError, match="not dict"):
        registry.add({"name": "x"})  # type: ignore[arg-type]


def test_unknown_names_get_suggestions() -> None:
    with pytest.raises(EditError, match=r"unknown edit 'beerd' \(did you mean 'beard'"):
        edits.select(["beerd"])
    with pytest.raises(EditError, match="'young' and 'old' conflict"):
        edits.select(["young", "old"])
    with pytest.raises(EditError, match="twice"):
        edits.select(["beard", "beard"])
    assert [category.name for category in edits.select(["glasses", "beard"])] == ["glasses", "beard"]


def test_conflicts_exist_and_are_mutual() -> None:
    for category in edits:
        for other in category.conflicts:
            assert category.name in edits[other].conflicts, f"{category.name} and {other}"


def test_yaml(tmp_path: Path) -> None:
    path = tmp_path / "edits.yaml"
    path.write_text(
        "dimples:\n  targets: [dimples, dimpled cheeks]\n  source: smooth cheeks\n  attribute: Rosy_Cheeks\n"
        "  regions: [skin, nose]\n  strength: 0.8\n  weights: [3, 1]\n  negative: scars\n"
        "  defaults: {sd2: {strength: 1, injection: 0.5}}\n"
    )
    registry = Registry(group=None)
    registry.add(edits["beard"])
    extended = registry.with_yaml(path)
    assert extended["dimples"] == Category(
        "dimples",
        ("dimples", "dimpled cheeks"),
        "smooth cheeks",
        "Rosy_Cheeks",
        regions=("skin", "nose"),
        strength=0.8,
        weights=(3.0, 1.0),
        negative="scars",
        defaults={"sd2": {"strength": 1.0, "injection": 0.5}},
    )
    assert extended.names() == ("beard", "dimples")
    assert (extended.origin("dimples"), extended.origin("beard")) == (str(path), "code")
    assert registry.names() == ("beard",), "the first registry stays as it is"
    assert registry.with_yaml(path).names() == extended.names(), "the same file may be read again"


TWO_WRONG = (
    "a: {targets: [x], source: y, attribute: Yong, place: end}\nb: {targets: [], source: y, attribute: Bald}"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dimples: {targets: [x], source: y, attribute: Young, target: z}", "did you mean 'targets'"),
        ("dimples: {targets: [x], source: y}", "lacks attribute"),
        ("dimples: [x]", "give the fields targets, source, attribute"),
        ("- dimples", "a mapping from names to values"),
        ("", "a mapping from names to values"),
        ("{}", "no category in it"),
        ("a: {name: b, targets: [x], source: y, attribute: Young}", "below the category's name"),
        ("a: {targets: [x], source: y, attribute: Young}\na: {}", "'a' is given twice"),
        ("dimples: {targets: [x], source: y, attribute: Youn}", "did you mean 'Young'"),
        ("dimples: {targets: [1], source: y, attribute: Young}", "it must be a list, each item text"),
        ("a: {targets: [", "cannot be read as YAML"),
        ("a: {targets: [x], source: y, attribute: Young, judge: os:system}", "judge is a function"),
        ("a: {targets: [x], source: y, attribute: Young, mask: builtins.print}", "keyface plugins new a"),
        (
            TWO_WRONG,
            "'a': unknown attribute 'Yong' (did you mean 'Young'?); use",
        ),
        (
            TWO_WRONG,
            "edit category 'b': targets needs at least one phrase",
        ),
    ],
)
def test_wrong_yaml_is_one_line_with_the_file(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "edits.yaml"
    path.write_text(text)
    registry = Registry(group=None)
    with pytest.raises(EditError) as caught:
        registry.with_yaml(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(registry) == 0


def test_hostile_yaml_runs_nothing(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path = tmp_path / "edits.yaml"
    path.write_text(f"dimples: !!python/object/apply:os.system ['touch {canary}']\n")
    with pytest.raises(EditError, match="cannot be read as YAML"):
        Registry(group=None).with_yaml(path)
    assert not canary.exists()


def test_yaml_adds_all_or_none(tmp_path: Path) -> None:
    path = tmp_path / "edits.yaml"
    fields = "{targets: [x], source: y, attribute: Young}"
    path.write_text(f"first: {fields}\nglasses: {fields}\n")
    registry = Registry(group=None)
    registry.add(edits["glasses"])
    with pytest.raises(EditError, match="glasses"):
        registry.with_yaml(path)
    assert registry.names() == ("glasses",)
