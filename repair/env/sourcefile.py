r"""A user's source file, read and written without loss.

A program here is lines joined by "\n". All else is kept and written
back: the encoding with its mark, each line's ending, empty lines at the end, and the
end of the last line.
"""

import codecs
import dataclasses
import difflib
import io
import os
import pathlib
import re
import stat
import tempfile
import tokenize

from repair.errors import UserError

# As Python's tokenizer splits lines: form feeds do not end a line.
_ENDING = re.compile(r"\r\n|\r|\n")


@dataclasses.dataclass(frozen=True)
class SourceFile:
    r"""A file of Python as it was read.

    Attributes:
      path: Its path, without links.
      data: Its bytes.
      encoding: Declared by its mark or its first two lines, else "utf-8".
      lines: Its lines without their endings and without empty ones at the end.
      endings: The ending of each: "\n", "\r\n" or "\r"; "" where the file ends.
      tail: The text after these lines.
    """

    path: pathlib.Path
    data: bytes
    encoding: str
    lines: tuple[str, ...]
    endings: tuple[str, ...]
    tail: str

    @property
    def code(self) -> str:
        """Program of the file."""
        return "\n".join(self.lines)

    def with_code(self, code: str) -> bytes:
        """Return the file's bytes with another program in it.

        Lines of both programs keep their endings; new lines end as most do.

        Raises:
          UserError: The file's encoding cannot write it or does not read it back.
        """
        code = code.rstrip("\n")
        new = code.split("\n") if code else []
        endings = [_common(self.endings)] * len(new)
        blocks = difflib.SequenceMatcher(None, self.lines, new, autojunk=False)
        for old_at, new_at, size in blocks.get_matching_blocks():
            for i in range(size):
                endings[new_at + i] = self.endings[old_at + i] or endings[new_at + i]
        if new and self.endings and not self.endings[-1]:
            endings[-1] = ""
        text = "".join(map("".join, zip(new, endings, strict=True))) + self.tail
        try:
            data = text.encode(self.encoding)
            read = _parse(self.path, data)
        except (UnicodeError, LookupError, UserError) as error:
            raise UserError(
                f"{self.path} is in {self.encoding}, which cannot write the repaired"
                f" program ({error})"
            ) from error
        if list(read.lines) != new:
            raise UserError(
                f"{self.path} would not read as the repaired program: its encoding"
                f" ({self.encoding}) or its line endings would be others then"
            )
        return data

    def write(self, data: bytes) -> None:
        """Replace the file's bytes atomically; its mode stays.

        Raises:
          UserError: The file has changed since it was read, or cannot be written.
        """
        partial = None
        try:
            if self.path.read_bytes() != self.data:
                raise UserError(
                    f"{self.path} was changed meanwhile and is left so; start again"
                )
            before = self.path.stat()
            descriptor, partial = tempfile.mkstemp(
                prefix=f".{self.path.name}.", dir=self.path.parent
            )
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                made = os.fstat(file.fileno())
                if (made.st_uid, made.st_gid) != (before.st_uid, before.st_gid):
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self.path)
        except OSError as error:
            if partial is not None and os.path.exists(partial):
                os.unlink(partial)
            raise UserError(
                f"{self.path} cannot be written ({error.strerror}); it is as it was"
            ) from error

    def back_up(self) -> pathlib.Path:
        """Copy the file as it was read to FILE.orig, or to FILE.orig.1 and so on.

        Raises:
          UserError: The copy cannot be written.
        """
        number = 0
        while True:
            suffix = ".orig" + (f".{number}" if number else "")
            backup = self.path.with_name(self.path.name + suffix)
            made = False
            try:
                with open(backup, "xb") as file:
                    made = True
                    file.write(self.data)
                os.chmod(backup, stat.S_IMODE(self.path.stat().st_mode))
                return backup
            except FileExistsError:
                number += 1
            except OSError as error:
                if made:
                    backup.unlink(missing_ok=True)
                raise UserError(
                    f"no backup can be written to {backup} ({error.strerror});"
                    f" {self.path} is as it was"
                ) from error


def read_source(path: str | pathlib.Path) -> SourceFile:
    """Read a file of Python.

    Raises:
      UserError: It is missing, no plain file, or no text.
    """
    path = pathlib.Path(path)
    try:
        real = path.resolve(strict=True)
        if real.is_dir():
            raise UserError(f"{path} is a folder; give a file of Python")
        if not real.is_file():
            raise UserError(f"{path} is no plain file; give a file of Python")
        data = real.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; give a file of Python") from error
    except (OSError, RuntimeError) as error:  # a loop of links raises one of them
        raise UserError(f"{path} cannot be read ({error})") from error
    return dataclasses.replace(_parse(path, data), path=real)


def check_writable(path: pathlib.Path) -> None:
    """Refuse a file that is read-only, also to the super-user.

    Raises:
      UserError: The file or its folder is read-only.
    """
    for place, needed in ((path, os.W_OK), (path.parent, os.W_OK | os.X_OK)):
        writable = place.stat().st_mode & 0o222 and os.access(place, needed)
        if not writable:
            raise UserError(
                f"{place} is read-only; make it writable (chmod u+w), or give --dry_run"
                " to see the repair alone"
            )


def _parse(path: pathlib.Path, data: bytes) -> SourceFile:
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (SyntaxError, UnicodeError, LookupError) as error:
        raise UserError(
            f"{path} is no text that Python reads ({error}); save it as UTF-8 or name"
            " its encoding in the first line"
        ) from error
    if "\0" in text:
        raise UserError(f"{path} holds a zero byte; give a file of Python")
    endings = _ENDING.findall(text)
    lines = _ENDING.split(text)
    if lines[-1] == "":
        lines.pop()
    else:
        endings.append("")
    kept = len(lines)
    while kept and not lines[kept - 1]:
        kept -= 1
    tail = "".join(map("".join, zip(lines[kept:], endings[kept:], strict=True)))
    if encoding == "utf-8-sig" and not data.startswith(codecs.BOM_UTF8):
        encoding = "utf-8"  # a cookie for it, in a file without the mark
    return SourceFile(
        path, data, encoding, tuple(lines[:kept]), tuple(endings[:kept]), tail
    )


def _common(endings: tuple[str, ...]) -> str:
    """Return the ending that most lines have."""
    found = [ending for ending in endings if ending]
    return max(dict.fromkeys(found), key=found.count, default="\n")
