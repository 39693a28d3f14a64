"""Encodings of texts that are not Unicode are detected, and written into the recipe with a warning."""

from pathlib import Path

import pytest

from featx.files.legacy_encodings import detect_legacy_encoding
from featx.images.init import init
from featx.specs.recipe import load_recipe
from tests.images.test_public_layouts import draw

TEXTS = {
    "cp1251": ["кошка,собака", "КОШКА,СОБАКА", "норма,патология", "Доброкачественная", "да,нет", "кіт,їжак"],
    "koi8-r": ["кошка,собака", "Кошка и Собака", "щука"],
    "cp1253": ["γάτα,σκύλος", "Καλοήθης,Κακοήθης"],
    "cp932": ["猫,犬", "ねこ,いぬ", "ネコ,イヌ,サル", "三毛猫", "良性,悪性"],
    "euc_jp": ["ねこ,いぬ", "三毛ねこ"],
    "gbk": ["猫,狗", "良性,恶性", "北京,上海,广州,深圳"],
    "big5": ["貓,狗", "良性,惡性", "台北,高雄,臺中"],
    "cp949": ["고양이,강아지,호랑이", "양성,음성,정상,비정상"],
    "cp1252": [
        "Ödem,gesund",
        "café,thé",
        "l’eau",
        "don’t “know”",
        "Ä,Ö,Ü",
        "cœur",
        "señor,ñandú",
        "été",
        "à",
        "Straße",
    ],
}
CASES = [(encoding, text) for encoding, texts in TEXTS.items() for text in texts]


@pytest.mark.parametrize(("encoding", "text"), CASES)
@pytest.mark.parametrize("is_table", [False, True], ids=["text", "table"])
def test_the_encoding_of_a_text_is_detected(encoding: str, text: str, is_table: bool) -> None:
    table = "file,label\n" + "\n".join(f"{i}.png,{word}" for i, word in enumerate(text.split(",")))
    assert detect_legacy_encoding((table if is_table else text).encode(encoding)) == encoding


def test_bytes_that_no_encoding_has_are_latin_1() -> None:
    assert detect_legacy_encoding(b"\x81\x8d caf\xe9") == "latin-1"


@pytest.mark.parametrize(
    ("encoding", "name", "words"),
    [
        ("cp1251", "Windows-1251", ["кошка", "собака"]),
        ("cp932", "Shift-JIS", ["猫", "犬"]),
        ("gbk", "GBK", ["猫", "狗"]),
        ("cp1252", "Windows-1252", ["Ödem", "gesund"]),
    ],
)
def test_a_table_is_read_and_the_key_is_named(encoding: str, name: str, words: list[str], home: Path) -> None:
    draw(home / "d", *(f"{i}.png" for i in range(24)))
    lines = ["file,label", *(f"{i}.png,{words[i % 2]}" for i in range(24))]
    (home / "d" / "labels.csv").write_bytes("\r\n".join(lines).encode(encoding))
    recognition = init("d")
    assert recognition.classes == dict.fromkeys(sorted(words), 12)
    (warning,) = recognition.warnings
    assert f"labels.csv is not Unicode and was read as {name} (encoding = {encoding!r})" in warning
    assert "write another encoding into data.labels, such as encoding = " in warning
    labels = load_recipe().data.labels
    assert labels is not None
    assert labels.encoding == encoding
