"""Where an export goes: a file that appears when it is whole, or a file object."""

from __future__ import annotations

import gzip
import os
import secrets
import shutil
from contextlib import ExitStack, contextmanager, suppress
from io import TextIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sessionwise.bulk.reading.files import COMPRESSIONS
from sessionwise.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    Sink = Any

__all__ = ["FORMATS", "Compression", "Counted", "Format", "format_of", "opened"]

Format = Literal["csv", "tsv", "jsonl", "parquet", "arrow"]
Compression = Literal["gzip", "zstd"]

FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
"""What the end of a file's name says of it."""

_KINDS = ("gzip", "zstd")

_MOST_OF_A_NAME = 100
"""Characters of a file's name that its temporary file has too: a name has its limit."""


class Counted:
    """A binary file that knows how much has been written into it."""

    closed = False
    """What pyarrow asks: who has opened the file closes it."""
    is_abandoned = False
    """Whether nothing more is to be written: what ends by itself ends its files, too."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.size = 0

    def write(self, data: Any) -> int:
        """Write all of some bytes."""
        rest = memoryview(data).cast("B")
        self.size += len(rest)
        while len(rest) and not self.is_abandoned:
            written = self._file.write(rest)
            if written is None or written == len(rest):  # a file of raw bytes may take less
                break
            rest = rest[written:]
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Hand on what is buffered."""
        if hasattr(self._file, "flush"):
            self._file.flush()

    def tell(self) -> int:
        """Return how much has been written."""
        return self.size

    def writable(self) -> bool:
        """Say that it can be written into."""
        return True

    def readable(self) -> bool:
        """Say that nothing is to be read from it."""
        return False

    def seekable(self) -> bool:
        """Say that it is written from its beginning to its end."""
        return False


def format_of(
    sink: Sink, format_: str | None, compression: str | None
) -> tuple[Format, Compression | None]:
    """Return the format of a file, and how it is compressed, as told or by the file's name.

    :param compression: ``"infer"`` for what the name says.
    :raises OptionError: for what is not a choice, and where the name says nothing.
    """
    suffixes = [one.lower() for one in Path(sink).suffixes] if is_path(sink) else []
    last = suffixes[-1] if suffixes else ""
    packed: Any = COMPRESSIONS.get(last) if compression == "infer" else compression
    if packed not in {None, *_KINDS}:
        raise OptionError.for_value("compression", compression, ("infer", *_KINDS, None))
    if format_ is None:
        if last in COMPRESSIONS:
            suffixes.pop()
        known = FORMATS.get(suffixes[-1] if suffixes else "")
        if known is None:
            raise OptionError(
                f"{_name(sink)} does not say what format it is to have: end its name with "
                f"{', '.join(FORMATS)}, or say format='csv'"
            )
        format_ = known
    if format_ not in FORMATS.values():
        raise OptionError.for_value("format", format_, dict.fromkeys(FORMATS.values()))
    return format_, packed  # type: ignore[return-value]


def is_path(sink: Sink) -> bool:
    """Say whether a file is given by its name."""
    return isinstance(sink, str | os.PathLike)


@contextmanager
def opened(sink: Sink, compression: Compression | None) -> Iterator[tuple[Counted, Any]]:
    """Give the file, and what is to be written into, which compresses.

    A file given by its name has that name once the block has ended well; until then, and where
    the block fails, what had the name before is as it was. A file object stays open.
    """
    if is_path(sink):
        with _replacing(Path(os.path.realpath(sink))) as file:
            yield from _compressing(file, compression)
        return
    if isinstance(sink, TextIOBase) or not hasattr(sink, "write"):
        raise OptionError(
            f"{sink!r} is neither a path nor a binary file: give a path, or open(path, 'wb')"
        )
    yield from _compressing(sink, compression)


def _compressing(file: Any, compression: Compression | None) -> Iterator[tuple[Counted, Any]]:
    counted = Counted(file)
    with ExitStack() as stack:
        target: Any = counted
        if compression == "gzip":
            # Without the time: the same rows are the same bytes.
            target = gzip.GzipFile(
                filename="", fileobj=counted, mode="wb", compresslevel=6, mtime=0
            )
            stack.enter_context(target)
        elif compression == "zstd":
            target = _zstandard().ZstdCompressor().stream_writer(counted, closefd=False)
            stack.enter_context(target)
        try:
            yield counted, target
        except BaseException:
            counted.is_abandoned = True
            raise
    counted.flush()


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        message = "zstd needs zstandard: pip install 'sessionwise[zstd]'"
        raise ImportError(message) from error
    return zstandard


@contextmanager
def _replacing(path: Path) -> Iterator[Any]:
    """Give a temporary file beside a file, which takes its name where the block ends well."""
    if path.is_dir():
        raise OptionError(f"{path} is a directory: name a file in it")
    if path.exists() and not path.is_file():  # a pipe, or a terminal
        with path.open("wb") as file:
            yield file
        return
    name = f".{path.name[:_MOST_OF_A_NAME]}.{secrets.token_hex(4)}.part"
    temporary = path.with_name(name)
    with temporary.open("xb") as file:
        try:
            yield file
            file.close()
            if path.exists():
                shutil.copymode(path, temporary)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):  # on a full disk what is buffered cannot be written, either
                file.close()
            with suppress(FileNotFoundError):
                temporary.unlink()
            raise


def _name(sink: Sink) -> str:
    return str(sink) if is_path(sink) else f"a {type(sink).__name__}"
