"""Roles of label columns that their names and values state: labels, identities such as patients, dates, row numbers."""

import re
from typing import Any

import pandas as pd

from featx.files.column_types import category_text
from featx.images.names import split_words

LABEL_WORDS = frozenset({"label", "labels", "class", "classes", "target", "category", "categories", "diagnosis", "dx"})
# Words that always identify persons. "subject" is not among them, because it may be the topic of a picture.
PATIENT_WORDS = frozenset({"patient", "participant", "donor", "pid", "mrn"})
# Words for identities by rank: images of one person stay together rather than those of one lesion or of one camera.
IDENTITY_RANKS = (
    PATIENT_WORDS | {"subject", "person", "identity", "individual", "user", "actor", "animal"},
    frozenset(
        {"subfolder", "specimen", "lesion", "case", "base", "scene", "video", "sequence", "track", "slide", "module"}
        | {"wafer", "plant", "tree", "house", "study", "exam", "series", "burst"}
    ),
    frozenset({"site", "device", "camera", "family"}),
)
IDENTITY_WORDS = frozenset().union(*IDENTITY_RANKS)
ID_WORDS = frozenset({"id", "ids", "no", "nr"})
# Names of row numbers consist of these words only; `no_of_cells` and `body_mass_index` are measured.
ROW_NUMBER_WORDS = ID_WORDS | {"index", "idx", "number", "num", "key", "row", "image", "img", "file", "sample"}
# One word for an identity and its number, such as `patientid`.
IDENTITY_WITH_ID = re.compile(rf"({'|'.join(sorted(IDENTITY_WORDS))})s?(?:{'|'.join(sorted(ID_WORDS))})")
DATE_WORDS = frozenset({"date", "dates", "datetime", "timestamp", "time"})
# A date as a whole cell, with or without a time of day.
DATE_CELL = re.compile(
    r"((19|20)\d\d([-_./ ]?)(0?[1-9]|1[0-2])(\3(0?[1-9]|[12]\d|3[01]))?"
    r"|\d{1,2}[-_./ ]\d{1,2}[-_./ ](19|20)\d\d)([T ]\d{1,2}:.*)?"
)
DATE_NUMBER = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")


def find_identity_words(name: str) -> frozenset[str]:
    """Return the words in a column's name that stand for an identity, in the singular.

    Examples
    --------
    >>> sorted(find_identity_words("PatientID")), sorted(find_identity_words("patientid"))
    (['patient'], ['patient'])
    >>> sorted(find_identity_words("lesions")), sorted(find_identity_words("Finding"))
    (['lesion'], [])
    """
    words = split_words(name)
    identities = {match[1] for word in words if (match := IDENTITY_WITH_ID.fullmatch(word))}
    return IDENTITY_WORDS & (identities | {*words, *(word.removesuffix("s") for word in words)})


def is_identifier(name: str) -> bool:
    """Whether a column's name says that it identifies patients, or has a word for an identity and one for a number.

    Examples
    --------
    >>> is_identifier("patient"), is_identifier("lesion_id"), is_identifier("userid"), is_identifier("plant")
    (True, True, True, False)
    """
    words, identities = split_words(name), find_identity_words(name)
    # The number follows its identity: `no_lesion` is a label.
    is_numbered = any(
        IDENTITY_WITH_ID.fullmatch(word) or (word in ID_WORDS and find_identity_words(" ".join(words[:position])))
        for position, word in enumerate(words)
    )
    return is_numbered or bool(identities & PATIENT_WORDS)


def is_row_number_name(name: str) -> bool:
    """Whether a column's name is that of row numbers.

    Examples
    --------
    >>> is_row_number_name("ISIC_id"), is_row_number_name("image_index"), is_row_number_name("body_mass_index")
    (True, True, False)
    """
    words = set(split_words(name))
    return bool(words & {"id", "ids"}) or (bool(words) and words <= ROW_NUMBER_WORDS)


def rank_identity(name: str, column: "pd.Series[Any]") -> int | None:
    """Return how coarse the identity of a column is, 0 for persons; None if it is a date or no identity.

    Parameters
    ----------
    name
        Name of the column.
    column
        Labels of all images.

    Examples
    --------
    >>> ids = pd.Series(["a", "a", "b"])
    >>> rank_identity("patient_id", ids), rank_identity("study", ids), rank_identity("StudyDate", ids)
    (0, 1, None)
    """
    words = find_identity_words(name)
    if not words or DATE_WORDS & set(split_words(name)) or holds_only_dates(column):
        return None
    return next(rank for rank, identities in enumerate(IDENTITY_RANKS) if words & identities)


def holds_only_dates(column: "pd.Series[Any]") -> bool:
    """Whether all values of a column are dates; numbers are dates if they have the form ``20240531``.

    Examples
    --------
    >>> holds_only_dates(pd.Series(["2024-05-31", "2024-06-01"])), holds_only_dates(pd.Series([20240531]))
    (True, True)
    >>> holds_only_dates(pd.Series([7]))
    False
    """
    if column.dtype.kind == "M":
        return True
    pattern = DATE_NUMBER if column.dtype.kind in "iuf" else DATE_CELL
    values = column.dropna()
    return len(values) > 0 and all(pattern.fullmatch(category_text(value)) for value in values.unique().tolist())
