"""What `import keyface` offers, and what it costs."""

import subprocess
import sys
from importlib import import_module

import pytest

import keyface

OFFERED = {
    "keyface": ("FaceEditPipeline", "EditSettings", "Prompts", "edit", "__version__"),
    "keyface.callbacks": ("VideoEditCallback",),
    "keyface.lightning_modules": ("IdentityModule", "DirectionModule"),
    "keyface.datamodules": ("ShardsDataModule",),
}


@pytest.mark.parametrize("package", OFFERED)
def test_names_are_where_one_expects_them(package: str) -> None:
    module = import_module(package)
    for name in OFFERED[package]:
        assert name in module.__all__
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        _ = module.nothing


def test_the_door_leads_to_the_classes_themselves() -> None:
    from keyface.editing.settings import EditSettings, Prompts
    from keyface.pipeline.pipeline import FaceEditPipeline, edit

    assert (keyface.EditSettings, keyface.Prompts) == (EditSettings, Prompts)
    assert (keyface.FaceEditPipeline, keyface.edit) == (FaceEditPipeline, edit)


def test_importing_keyface_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'lightning', 'diffusers', 'transformers', 'av', 'jsonargparse'}"
    packages = "keyface, keyface.callbacks, keyface.lightning_modules, keyface.datamodules"
    code = f"import sys, {packages}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_settings_are_read_without_torch() -> None:
    code = "import sys, keyface; keyface.EditSettings(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
