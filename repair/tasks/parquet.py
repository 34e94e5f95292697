"""Rows of a parquet file, the format of datasets on the Hugging Face Hub."""

import io
import pathlib

from repair.errors import UserError

MAGIC = b"PAR1"  # the first bytes of every such file


def parse_parquet(path: str | pathlib.Path, data: bytes) -> list[tuple[str, object]]:
    """Return the rows of a parquet file with their places; a null is no field.

    Raises:
      UserError: pyarrow is not installed, or the file is torn.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            f"{path} is a parquet file, which pyarrow reads ({error}); run pip install"
            " -e '.[parquet]', or give the rows as JSON lines"
        ) from error
    try:
        rows = pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(
            f"cannot read {path} as parquet: {str(error).splitlines()[0]}; get the file"
            " again"
        ) from error
    return [
        (f"{path}: row {number}", {k: v for k, v in row.items() if v is not None})
        for number, row in enumerate(rows, 1)
    ]
