"""The directory of a zip file, read without an object for each member: an archive may have millions."""

import struct
import zipfile
from dataclasses import dataclass
from typing import IO

# Compressions of members that Python reads, and names of others; the newest Python reads zstandard too.
ZIP_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA,
               getattr(zipfile, "ZIP_ZSTANDARD", zipfile.ZIP_STORED)}  # fmt: skip
ZIP_METHOD_NAMES = {1: "Shrink", 6: "Implode", 9: "Deflate64", 93: "Zstandard", 95: "xz", 98: "PPMd", 99: "AES"}
# First bytes and fields of the record of a member: needed version, flags, method, checksum, packed size, size, lengths
# of three texts that follow, and position of the member.
RECORD, RECORD_MARK = struct.Struct("<4s2xHHH4xLLLHHH8xL"), b"PK\1\2"
# Those of the end of a zip: number of members, size and position of the directory, length of a comment.
END, END_MARK = struct.Struct("<4s6xHLLH"), b"PK\5\6"
# Those of the end of a large zip, which is followed by the bytes that locate it, and by the end of a zip.
END64, END64_MARK = struct.Struct("<4s28xQQQ"), b"PK\6\6"
# Those of the bytes that locate it: number of the file that holds it, and of files that the archive is split into.
LOCATOR, LOCATOR_MARK = struct.Struct("<4sL8xL"), b"PK\6\7"
# The newest version of the format, times ten, that `zipfile` reads.
MAX_VERSION = 63
# Value of a field whose number is written elsewhere, because it needs 64 bits.
ELSEWHERE = 0xFFFFFFFF
EMPTY_ZIP = END.pack(END_MARK, 0, 0, 0, 0)


@dataclass(frozen=True)
class ZipDirectory:
    """The directory of a zip file.

    Attributes
    ----------
    content
        Records of all members.
    positions
        Position in `content` of the record of each member by its name; of several with one name, the last one counts.
    problems
        Reason why each member cannot be read, or ``""``, by its name.
    """

    content: bytes
    positions: dict[str, int]
    problems: dict[str, str]

    def info(self, name: str) -> zipfile.ZipInfo:
        """Return what `zipfile` needs to read a member.

        Raises
        ------
        KeyError
            There is no such member.
        """
        info = zipfile.ZipInfo(name)
        fields = RECORD.unpack_from(self.content, self.positions[name])
        _, _, info.flag_bits, info.compress_type, info.CRC, info.compress_size, info.file_size, *_, start = fields
        info.header_offset = start
        return info


def find_zip_problem(flags: int, method: int) -> str:
    """Return why a member with these flags and this compression cannot be read; empty if it can."""
    if flags & 1:
        return "is encrypted"
    if method in ZIP_METHODS:
        return ""
    name = ZIP_METHOD_NAMES.get(method, "an unknown method")
    return f"is compressed with {name} (method {method}), which Python does not read"


def read_directory(stream: IO[bytes]) -> ZipDirectory | None:
    """Return the directory of a zip file; None if `zipfile` must read it.

    `zipfile` reads archives with a comment, with other bytes before them, with names that are not ASCII, or with
    members of more than 4 GiB, and says what is wrong with damaged ones.
    """
    n_bytes = stream.seek(0, 2)
    stream.seek(max(n_bytes - END64.size - LOCATOR.size - END.size, 0))
    tail = stream.read()
    if len(tail) < END.size:
        return None
    mark, n_members, size, start, n_comment = END.unpack_from(tail, len(tail) - END.size)
    end = n_bytes - END.size
    if tail.startswith(END64_MARK) and tail.startswith(LOCATOR_MARK, END64.size):
        _, n_file, n_files = LOCATOR.unpack_from(tail, END64.size)
        if n_file or n_files > 1:
            return None
        _, n_members, size, start = END64.unpack_from(tail)
        end = n_bytes - len(tail)
    if mark != END_MARK or n_comment or start + size != end:
        return None
    stream.seek(start)
    return _parse_records(stream.read(size), n_members)


def _parse_records(content: bytes, n_members: int) -> ZipDirectory | None:
    positions: dict[str, int] = {}
    problems: dict[str, str] = {}
    position = 0
    for _ in range(n_members):
        if position + RECORD.size > len(content):
            return None
        mark, version, flags, method, _, n_packed, n_unpacked, n_name, n_extra, n_comment, start = RECORD.unpack_from(
            content, position
        )
        encoded_name = content[position + RECORD.size : position + RECORD.size + n_name]
        is_plain = (
            encoded_name.isascii() and b"\0" not in encoded_name and ELSEWHERE not in {n_packed, n_unpacked, start}
        )
        if mark != RECORD_MARK or version > MAX_VERSION or not is_plain:
            return None
        name = encoded_name.decode("ascii")
        positions[name] = position
        problems[name] = find_zip_problem(flags, method)
        position += RECORD.size + n_name + n_extra + n_comment
    return ZipDirectory(content, positions, problems) if position == len(content) else None
