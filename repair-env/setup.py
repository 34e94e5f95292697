"""Packaging of the environment alone: no jax, no dependency but those of an extra.

Install from a checkout by `pip install ./repair-env`.
"""

import os
import pathlib
import runpy
import tempfile

import setuptools

ROOT = pathlib.Path(os.pardir)
FOLDERS = ("sandbox", "tasks", "env", "demos", "integrations")
SHARED = runpy.run_path(ROOT / "setup.py")

# A folder that lasts would bring modules of an earlier version into the wheel.
with tempfile.TemporaryDirectory() as build:
    setuptools.setup(
        name="repair-env",
        description="Code repair with a line editor: environment, sandbox and tasks",
        packages=[
            package
            for folder in FOLDERS
            for package in setuptools.find_packages(
                str(ROOT), include=[f"repair.{folder}", f"repair.{folder}.*"]
            )
        ],
        # With them come repair/__init__.py and repair/text/__init__.py.
        py_modules=["repair.errors", "repair.text.prompts", *SHARED["PLUGINS"]],
        package_dir={"": str(ROOT)},
        extras_require={
            name: SHARED["EXTRAS"][name] for name in ("gymnasium", "verifiers", "trl")
        },
        options={
            "build": {"build_base": build},
            "egg_info": {"egg_base": os.curdir},
        },
        **SHARED["COMMON"],
    )
