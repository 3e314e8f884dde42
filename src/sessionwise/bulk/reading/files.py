"""Files to read from: a path or an open file, as it is or compressed."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sessionwise.errors import BulkInputError, OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["COMPRESSIONS", "InputFile", "reading"]

COMPRESSIONS = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}
"""What a suffix says about a file."""

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_BLOCK = 1 << 16


class InputFile:
    """A file that can be read: again and again where that is possible, or once."""

    def __init__(self, source: Any, encoding: str | None) -> None:
        """Take a path, or an open file.

        :param encoding: of its text; None where it is not text.
        :raises OSError: for a path that cannot be read.
        :raises BulkInputError: for anything else.
        :raises OptionError: for an encoding that Python does not know.
        """
        self._source = source
        self._encoding = None if encoding is None else _codec(encoding)
        self._start: int | None = None
        self._used = False
        self._reading: _Counted | None = None
        self.path: Path | None = None
        """Where it is, if it is a file that has a name."""
        if isinstance(source, (str, os.PathLike)):
            path = Path(source)
            with path.open("rb") if not path.is_fifo() else io.BytesIO():
                self.name = path.name
            self.once = not path.is_file()
            self.path = None if self.once else path
        elif hasattr(source, "read"):
            self.name = Path(str(getattr(source, "name", None) or "the file")).name
            self._start = _position(source)
            self.once = self._start is None
        else:
            raise BulkInputError(
                f"{source!r} is neither a path nor an open file; give one of these"
            )

    def open(self) -> io.BufferedReader:
        """Open the file at its beginning, decompressed, its text as UTF-8.

        What is returned is to be closed; the caller's own file stays open.

        :raises BulkInputError: where it can be read once, and has been.
        """
        if self.once and self._used:
            raise BulkInputError(
                f"{self.name} has been read, and it can be read only once; open it again, or give "
                "its path"
            )
        self._used = True
        if isinstance(self._source, (str, os.PathLike)):
            below: Any = _Counted(self._source)
            self._reading = below
        else:
            if self._start is not None:
                self._source.seek(self._start)
            below = _Borrowed(self._source)
        try:
            with reading(self.name):
                return self._as_utf8(self._decompressed(io.BufferedReader(below, _BLOCK)))
        except BaseException:
            below.close()
            raise

    @property
    def bytes_read(self) -> int:
        """How many bytes of a path have been read since it was opened last, as they are in it."""
        return 0 if self._reading is None else self._reading.count

    def _decompressed(self, raw: io.BufferedReader) -> io.BufferedReader:
        head = raw.peek(4)
        found = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
        promised = COMPRESSIONS.get(Path(self.name).suffix.lower())
        # Whoever gives an open file may have decompressed it.
        is_named = isinstance(self._source, (str, os.PathLike))
        if is_named and promised is not None and head and found != promised:
            raise BulkInputError(
                f"{self.name} is not {promised}, as its name says it is; give it its right name"
            )
        if found == "gzip":
            return io.BufferedReader(_Owning(gzip.GzipFile(fileobj=raw), raw), _BLOCK)
        if found == "zstd":
            return io.BufferedReader(_Zstd(raw), _BLOCK)
        return raw

    def _as_utf8(self, file: io.BufferedReader) -> io.BufferedReader:
        if self._encoding is None:
            return file
        if self._encoding not in {"utf-8", "utf-8-sig"}:
            text = io.TextIOWrapper(file, self._encoding, newline="")
            file = io.BufferedReader(_Owning(text, file), _BLOCK)
        if file.peek(3).startswith(codecs.BOM_UTF8):
            file.read(len(codecs.BOM_UTF8))
        return file


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Have what goes wrong while a file is read raised as a clear error.

    :raises BulkInputError: for a file that is cut short or damaged, or is in another encoding.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise undecodable(name, error) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(name, error) from error


def undecodable(where: str, error: UnicodeDecodeError) -> BulkInputError:
    """Build the error for bytes that are not text."""
    found = error.object[error.start : error.end].hex(" ")
    return BulkInputError(
        f"{where}: the bytes {found} are not {error.encoding} ({error.reason}); give encoding=, "
        "such as 'cp1252'"
    )


def damaged(name: str, error: object) -> BulkInputError:
    """Build the error for a file that does not end, or does not go on, as it should."""
    return BulkInputError(f"{name} is cut short or damaged ({error}); get it again")


class _Counted(io.FileIO):
    """A file that counts the bytes which are read of it."""

    count = 0

    def readinto(self, buffer: Any) -> int:
        found = super().readinto(buffer)
        self.count += found or 0
        return found


class _Borrowed(io.RawIOBase):
    """Any file object as a file of bytes; text is UTF-8. Closing it leaves the other one open."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            # A sign of text is up to four bytes long.
            data = self._file.read(len(buffer))
            self._left = data.encode() if isinstance(data, str) else bytes(data or b"")
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


class _Owning(_Borrowed):
    """One whose closing closes what it reads from."""

    def __init__(self, file: Any, below: Any) -> None:
        super().__init__(file)
        self._below = below

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._file.close()
            self._below.close()


class _Zstd(io.RawIOBase):
    """A zstd file, one frame after the other, that knows when the last one is cut short."""

    def __init__(self, file: io.BufferedReader) -> None:
        try:
            import zstandard
        except ImportError as error:
            raise ImportError(
                "files compressed by zstd need zstandard: pip install 'sessionwise[zstd]'"
            ) from error
        self._file = file
        self._error = zstandard.ZstdError
        self._new_frame = zstandard.ZstdDecompressor().decompressobj
        self._frame: Any = None
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            data = self._file.read(_BLOCK)
            if not data:
                if self._frame is not None:
                    raise EOFError("the last frame has no end")
                return 0
            self._left = memoryview(self._decompress(data))
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def _decompress(self, data: bytes) -> bytes:
        found = []
        while data:
            if self._frame is None:
                self._frame = self._new_frame()
            try:
                found.append(self._frame.decompress(data))
            except self._error as error:
                raise EOFError(str(error)) from error
            data = b""
            if self._frame.eof:
                data, self._frame = self._frame.unused_data, None
        return b"".join(found)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._file.close()


def _codec(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        raise OptionError(
            f"encoding={encoding!r} is not an encoding that Python knows; use 'utf-8', 'cp1252' …"
        ) from None


def _position(file: Any) -> int | None:
    """Return where a file stands; None where it cannot go back there."""
    try:
        if not file.seekable():
            return None
        position: int = file.tell()
    except (AttributeError, OSError, ValueError):
        return None
    return position
