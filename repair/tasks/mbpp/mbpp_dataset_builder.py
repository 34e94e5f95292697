"""MBPP as a TensorFlow dataset, built and read without tensorflow.

The rows stay as published, CRLF and tabs included. `repair.tasks.mbpp` builds the
dataset and reads it as tasks; the catalogue of TFDS does not have it.
"""

import numpy as np
import tensorflow_datasets as tfds

from repair.tasks.jsonl import NEEDED, setup_of, task_of, text_field
from repair.tasks.mbpp import SPLITS, URL, split_of
from repair.tasks.rows import Row, read_rows

_CITATION = """\
@article{austin2021program,
  title={Program Synthesis with Large Language Models},
  author={Austin, Jacob and Odena, Augustus and Nye, Maxwell and others},
  journal={arXiv preprint arXiv:2108.07732},
  year={2021}
}"""


class Builder(tfds.core.GeneratorBasedBuilder):
    """974 tasks of a sentence, a Python program and three asserts.

    Args:
      path: A file with MBPP's rows, all or some of them; "" to download it.
      **settings: Arguments of TFDS's builders.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The 974 rows as published."}

    def __init__(self, *, path: str = "", **settings):
        self._rows_path = path
        super().__init__(**settings)

    def _info(self) -> tfds.core.DatasetInfo:
        text, texts = tfds.features.Text(), tfds.features.Sequence(tfds.features.Text())
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "task_id": tfds.features.Scalar(np.int32),
                    "text": text,
                    "code": text,
                    "test_list": texts,
                    "test_setup_code": text,
                    "challenge_test_list": texts,
                }
            ),
            homepage="https://github.com/google-research/google-research/tree/master/mbpp",
            citation=_CITATION,
            license="CC-BY-4.0",
            disable_shuffling=True,  # examples stay in the order of their keys
        )

    def _split_generators(self, dl_manager):
        rows = list(read_rows(self._rows_path or dl_manager.download(URL), NEEDED))
        by_split: dict[str, list] = {name: [] for name in SPLITS}
        for row in rows:
            task_of(row)  # refuses a row that could not be read back
            split = split_of(row.task_id)
            if split is None:
                raise row.error("task_id", f"is {row.task_id!r}, expected 1 to 974")
            by_split[split].append(row)
        return {
            name: self._generate_examples(found)
            for name, found in by_split.items()
            if found
        }

    def _generate_examples(self, rows: list[Row]):
        for row in rows:
            yield (
                row.task_id,
                {
                    "task_id": row.task_id,
                    "text": row.text(text_field(row)),
                    "code": row.text("code"),
                    "test_list": row.texts("test_list"),
                    "test_setup_code": setup_of(row),
                    "challenge_test_list": row.texts("challenge_test_list", ()),
                },
            )
