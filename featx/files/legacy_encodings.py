"""Encodings of texts that are not Unicode: Cyrillic, Greek, Japanese, Chinese, Korean, otherwise Western."""

import re
from collections.abc import Sequence

# Number of bytes from which an encoding is detected.
SAMPLE_BYTES = 1 << 18
WORD = re.compile(r"[^\W\d_]+")
ASCII_LETTER = re.compile(r"[A-Za-z]")
# Letters and vowels of the alphabets; a text has about 40 % vowels if it is read in its encoding.
CYRILLIC = re.compile(r"[А-яЁёІіЇїЄєҐґЎў]")
CYRILLIC_VOWELS = frozenset("аеёиоуыэюяіїєАЕЁИОУЫЭЮЯІЇЄ")
GREEK = re.compile(r"[Α-ωΆ-Ώά-ώ]")
GREEK_VOWELS = frozenset("αεηιουωάέήίόύώΑΕΗΙΟΥΩΆΈΉΊΌΎΏ")
# Single-byte encodings in the order in which equally good ones are taken.
ALPHABETS = {
    "cp1251": (CYRILLIC, CYRILLIC_VOWELS),
    "koi8-r": (CYRILLIC, CYRILLIC_VOWELS),
    "cp1253": (GREEK, GREEK_VOWELS),
}
KANA = re.compile(r"[\u3041-\u30fe]")
HALF_WIDTH_KANA = re.compile(r"[\uff61-\uff9f]")
MIN_LETTERS = 2
MIN_VOWELS = 0.2
# Additions to the share of vowels: most texts are of small letters, and most Cyrillic ones are Windows-1251.
SMALL_LETTERS_BONUS, FIRST_ENCODING_BONUS = 0.2, 0.2
# A capital letter after a small one is rare in a text that is read in its encoding.
CASE_CHANGE = re.compile(r"[а-яёα-ωά-ώ][А-ЯЁΑ-ΩΆ-Ώ]")
MAX_CASE_CHANGES = 0.2
# Shares of words that must be of one script, and of characters that must be common ones.
MIN_PURE_WORDS, MIN_COMMON = 0.9, 0.8
# Number of different syllables from which the range of their first bytes distinguishes Korean from Chinese.
MIN_KOREAN_SYLLABLES = 6


def detect_legacy_encoding(content: bytes) -> str:
    """Return the encoding of a text that is not Unicode.

    A text of one script has words of that script alone; read in a wrong encoding, words mix scripts or have rare
    characters. Texts of the Latin script are read as Windows-1252, or as Latin-1 if they have bytes that it lacks.

    Parameters
    ----------
    content
        The bytes of the text.

    Examples
    --------
    >>> [detect_legacy_encoding(text.encode(code)) for text, code in (("кошка", "cp1251"), ("Öl", "cp1252"))]
    ['cp1251', 'cp1252']
    """
    sample = content[:SAMPLE_BYTES]
    if len(content) > SAMPLE_BYTES:
        sample = sample[: sample.rfind(b"\n") + 1] or sample
    for encoding in COMMON_FIRST_BYTES:
        text = _decode(sample, encoding)
        if text is not None and _is_east_asian(_list_words(text), encoding) and _decode(content, encoding) is not None:
            return encoding
    ratings = {encoding: _rate_alphabet(sample, encoding) for encoding in ALPHABETS}
    best = max(ratings, key=ratings.__getitem__)
    if ratings[best] >= MIN_VOWELS and _decode(content, best) is not None:
        return best
    return "cp1252" if _decode(content, "cp1252") is not None else "latin-1"


def _decode(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return None


def _list_words(text: str) -> list[str]:
    """Return the different words with characters outside ASCII."""
    return sorted({word for word in WORD.findall(text) if not word.isascii()})


def _are_pure(words: Sequence[str]) -> bool:
    pure_words = [word for word in words if not ASCII_LETTER.search(word)]
    return bool(pure_words) and len(pure_words) >= MIN_PURE_WORDS * len(words)


def _rate_alphabet(sample: bytes, encoding: str) -> float:
    """Return the share of vowels among the letters of a text, more for small letters; 0 if it mixes alphabets."""
    text = _decode(sample, encoding)
    letters, vowels = ALPHABETS[encoding]
    words = [] if text is None else _list_words(text)
    if text is None or not any(len(word) >= MIN_LETTERS for word in words) or not _are_pure(words):
        return 0.0
    characters = [character for character in text if not character.isascii()]
    n_letters = sum(bool(letters.match(character)) for character in characters)
    if n_letters < MIN_PURE_WORDS * len(characters):
        return 0.0
    all_letters = "".join(words)
    if sum(bool(CASE_CHANGE.search(word)) for word in words) > MAX_CASE_CHANGES * len(words):
        return 0.0
    vowel_share = sum(character in vowels for character in all_letters) / len(all_letters)
    is_small = sum(map(str.islower, all_letters)) > len(all_letters) / 2
    return vowel_share + SMALL_LETTERS_BONUS * is_small + FIRST_ENCODING_BONUS * (encoding == next(iter(ALPHABETS)))


def _is_east_asian(words: Sequence[str], encoding: str) -> bool:
    """Whether the characters of words are kana, or have first bytes of the common characters of their encoding."""
    text = "".join(words)
    if not _are_pure(words) or HALF_WIDTH_KANA.search(text):
        return False
    is_japanese = encoding in {"cp932", "euc_jp"}
    has_kana = bool(KANA.search(text))
    if has_kana and not is_japanese:
        return False
    if encoding == "euc_jp" and not has_kana:
        return False
    characters = [character for character in text if not character.isascii()]
    codes = [character.encode(encoding) for character in characters]
    first_byte, last_byte = COMMON_FIRST_BYTES[encoding]
    min_second = 0x40 if encoding in {"cp932", "big5"} else 0xA1
    is_common = [
        bool(KANA.match(character)) or (len(code) == 2 and first_byte <= code[0] <= last_byte and code[1] >= min_second)
        for character, code in zip(characters, codes, strict=True)
    ]
    if encoding == "cp949" and len(set(codes)) < MIN_KOREAN_SYLLABLES:
        return False
    return sum(is_common) >= (1.0 if encoding == "cp949" else MIN_COMMON) * len(is_common)


# First bytes of the characters that most texts consist of.
COMMON_FIRST_BYTES = {
    "cp932": (0x88, 0x97), "euc_jp": (0xB0, 0xCF), "cp949": (0xB0, 0xC8), "gbk": (0xB0, 0xD7), "big5": (0xA4, 0xC6)
}  # fmt: skip
