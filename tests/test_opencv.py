"""OpenCV that is missing or does not load is said in one line, with what mends it."""

import subprocess
import sys
from pathlib import Path

import pytest

from keyface.metrics.flow import Dis
from keyface.opencv import MEND, load_opencv

SCREEN_BUILD = """
raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
"""
"""What opencv-python's native module does on a machine without libGL, in the folder that both builds fill."""


def test_the_installed_build_is_the_headless_one() -> None:
    assert load_opencv("this test").version.headless
    assert Dis().name.startswith("DIS (medium, OpenCV ")


def test_the_build_for_screens_names_its_cure(tmp_path: Path) -> None:
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").write_text(SCREEN_BUILD)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from keyface.opencv import load_opencv\n"
        "try: load_opencv('finding faces')\n"
        "except ImportError as error: print(error)"
    )
    told = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert told == (
        "finding faces needs OpenCV, which does not load here (libGL.so.1: cannot open shared object file: "
        f"No such file or directory): opencv-python stands over the headless build; mend it by: {MEND}\n"
    )
    assert MEND.endswith("&& pip install opencv-python-headless")


def test_a_machine_without_it_learns_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)  # Python's own way to say that there is no such module
    with pytest.raises(ImportError, match=r"^flow needs OpenCV: pip install opencv-python-headless$"):
        load_opencv("flow")
