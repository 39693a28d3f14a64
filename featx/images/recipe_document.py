"""The commented recipe that ``featx init`` writes for a recognised source."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit import TOMLDocument, comment, nl
from tomlkit.items import AoT, Table

from featx.errors import DataError
from featx.images.class_sizes import SizeSettings
from featx.images.decoding_proposal import DecodingProposal
from featx.images.split_columns import find_column_parts
from featx.images.target_proposals import TargetProposals
from featx.locations import is_url
from featx.specs.data import ReaderSpec
from featx.specs.ensembling import DEFAULT_METHODS, UNTRAINED_METHODS
from featx.specs.recipe import parse_recipe
from featx.specs.recipe_defaults import DEFAULT_HEADS, DEFAULT_HEADS_OF_NUMBERS
from featx.tables.manifest import Manifest
from featx.text.escaping import escape_json, escape_text

MAX_CLASSES_IN_COMMENT = 12
MAX_COLUMNS_IN_COMMENT = 40
# Votes are trained on val in five folds, and a split by hash may give val half as many rows as expected.
MIN_VAL_ROWS_TO_TRAIN_VOTES = 10


@dataclass(frozen=True, eq=False)
class RecognisedSource:
    """Everything that was recognised in a source and goes into its recipe.

    Attributes
    ----------
    data
        The way to read the source.
    manifest
        The images.
    proposals
        Targets and groups that their label columns offer.
    classes
        Number of images by class of the first target.
    sizes
        Settings for small classes.
    decoding
        Settings of decoding that the images need.
    """

    data: ReaderSpec
    manifest: Manifest
    proposals: TargetProposals
    classes: Mapping[str, int]
    sizes: SizeSettings
    decoding: DecodingProposal


def build_document(source: RecognisedSource, recipe: Path) -> TOMLDocument:
    """Return the recipe as TOML: the recognised settings, and other useful settings as comments.

    Parameters
    ----------
    source
        The recognised source.
    recipe
        Path of the recipe, which its relative paths start from.
    """
    proposals, n_images = source.proposals, len(source.manifest)
    document = tomlkit.document()
    document.add(comment(f"Written by featx init; {n_images} images. Next: featx extract, fit, ensemble, report"))
    document.add(comment("(featx show FILE prints all settings, including those that are not set here)"))
    document.add(nl())
    document.add("data", _data_section(source.data, recipe))
    if proposals.targets:
        targets = tomlkit.table(is_super_table=True)
        targets.add(proposals.targets[0].name, _target_section(source))
        document.add("targets", targets)
        document.add("split", _split_section(source))
    if source.decoding.settings:
        document.add("decoding", _decoding_section(source.decoding))
    embedding = _toml_table({"backbone": "efficientnet_lite0", "tap": "last", "pool": "avg"})
    embedding.comment("'featx backbones' lists the names; a list in tap or pool makes one embedding per item")
    embedding.add(nl())
    document.add("embedding", AoT([embedding]))
    if proposals.targets:
        has_numbers = proposals.targets[0].kind == "numbers"
        folds = {} if source.sizes.folds is None else {"folds": source.sizes.folds}
        heads = DEFAULT_HEADS_OF_NUMBERS if has_numbers else DEFAULT_HEADS
        document.add("head", AoT([_toml_table({"name": head, "trials": 10} | folds) for head in heads]))
        document.add(nl())
        if not has_numbers:
            document.add("ensemble", AoT([_ensemble_section(source)]))
    return document


def _ensemble_section(source: RecognisedSource) -> Table:
    """Return the section of ensembles, without those that are trained if val will have too few rows to train them."""
    has_own_parts = source.proposals.split_column is not None or source.data.parts is not None
    if has_own_parts or len(source.manifest) * source.sizes.val >= MIN_VAL_ROWS_TO_TRAIN_VOTES:
        return _toml_table({"methods": list(DEFAULT_METHODS)})
    section = _toml_table({"methods": list(UNTRAINED_METHODS)})
    trained_votes = [name for name in DEFAULT_METHODS if name not in UNTRAINED_METHODS]
    section.add(comment(f"{' and '.join(trained_votes)} are trained on val rows, which are too few here"))
    return section


def _data_section(data: ReaderSpec, recipe: Path) -> Table:
    section = _toml_table({"source": _relative_to_recipe(data.source, recipe)})
    if data.reader:
        section.add("reader", data.reader)
    if data.labels is not None:
        section.add("labels", _inline_table(data.labels.model_dump(exclude_defaults=True, mode="json")))
    if data.parts is not None:
        section.add("parts", _inline_table(data.parts.model_dump(exclude_defaults=True, mode="json")))
    if data.drop_unlabelled:
        section.add("drop_unlabelled", True)
        section.add(
            comment("drop_unlabelled leaves out images without a label; otherwise 'featx fit' refuses the recipe")
        )
    else:
        section.add(
            comment(
                "drop_unlabelled = true   # leaves out images without a label; otherwise 'featx fit' refuses the recipe"
            )
        )
    section.add(nl())
    arrays = []
    for spec in data.arrays:
        table = _toml_table({"images": spec.images, "labels": _inline_table(spec.labels)})
        if spec.split:
            table.add("split", spec.split)
        if spec.row_axis != "first":
            table.add("row_axis", spec.row_axis)
        table.add(nl())
        arrays.append(table)
    if arrays:
        section.add("arrays", AoT(arrays))
    return section


def _target_section(source: RecognisedSource) -> Table:
    proposals, classes, sizes = source.proposals, source.classes, source.sizes
    proposal, other_proposals = proposals.targets[0], proposals.targets[1:]
    section = _toml_table(proposal.settings())
    if proposal.reason:
        section.add(comment(escape_text(f"kind: {proposal.reason}")))
    if proposal.kind == "classes" and not proposal.classes and classes:
        is_numeric = all(name.lstrip("-").replace(".", "", 1).isdigit() for name in classes)
        names_text = tomlkit.item(list(classes)[:MAX_CLASSES_IN_COMMENT]).as_string()
        order = "names for these values, in this order" if is_numeric else "in the order of the codes"
        section.add(comment(escape_json(f"classes = {names_text}   # {order}")))
        if is_numeric:
            section.add(comment("above = 0.5   # two classes: values above, and all others"))
    if sizes.drop:
        section.add("drop", list(sizes.drop))
    if other_proposals:
        names_text = ", ".join(other_proposal.name for other_proposal in other_proposals[:MAX_COLUMNS_IN_COMMENT])
        section.add(comment(escape_text(f"other columns that could be predicted: {names_text}")))
    section.add(nl())
    return section


def _split_section(source: RecognisedSource) -> Table:
    manifest, proposals, sizes = source.manifest, source.proposals, source.sizes
    column = proposals.split_column
    parts = find_column_parts(column, manifest.labels[column]) or {} if column else {}
    section = _toml_table({"column": column} if column else {})
    has_test = not parts or "test" in parts.values()
    test_note = "; the test part stays sealed until 'featx evaluate --final'" if has_test else ""
    section.comment(f"shares of the images{test_note}")
    if any(part != value.lower() for value, part in parts.items()):
        section.add("parts", _inline_table(parts))
    if "test" in parts.values():
        section.add(comment("test: given by the source"))
    elif parts:
        section.add(comment("test = 0.2   # cuts a test part from the given train part, which has none"))
    else:
        section.add("test", sizes.test)
    if "val" in parts.values():
        section.add(comment("val: given by the source"))
    else:
        share = tomlkit.item(sizes.val)
        if parts:
            share.comment("cut from the given train part, to choose between runs")
        section.add("val", share)
    section.add("stratify", True)
    method = tomlkit.item("train_test_split" if sizes.exact_split else "hash")
    method.comment(
        escape_text(sizes.reason)
        if sizes.exact_split
        else 'added images do not move other images; "train_test_split" makes exact shares'
    )
    section.add("method", method)
    if proposals.group_column is not None:
        section.add("by", proposals.group_column)
        section.add(comment(escape_text(f"by: {proposals.group_reason}")))
    else:
        section.add(comment('by = "COLUMN"   # keeps images of one group (patient, device, …) together'))
    section.add("seed", 0)
    section.add(nl())
    return section


def _decoding_section(decoding: DecodingProposal) -> Table:
    section = tomlkit.table()
    for name, value in decoding.settings.items():
        section.add(comment(escape_text(decoding.reasons[name])))
        section.add(name, value)
    section.add(nl())
    return section


def _inline_table(fields: Mapping[str, Any]) -> Any:
    table = tomlkit.inline_table()
    for name, value in fields.items():
        table.add(name, _inline_table(value) if isinstance(value, Mapping) else value)
    return table


def _toml_table(fields: Mapping[str, Any]) -> Table:
    table = tomlkit.table()
    table.update(fields)
    return table


def dump_checked(document: TOMLDocument, recipe: Path) -> str:
    """Return the text of a document, once it is known to load back unchanged as a valid recipe.

    Raises
    ------
    DataError
        a name in it cannot be written as TOML.
    """
    text = tomlkit.dumps(document)
    try:
        content = tomllib.loads(text.encode().decode())
    except (UnicodeEncodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{recipe} cannot be written: a path or column name is not Unicode ({error})") from error
    if content != document.unwrap():
        raise DataError(f"{recipe} would not load back as written; report this as a bug, with the names of the columns")
    parse_recipe(content, recipe)
    return text


def _relative_to_recipe(source: str, recipe: Path) -> str:
    """Return the path of the source relative to the recipe's folder if it is below it, otherwise absolute."""
    if is_url(source):
        return source
    path, home = Path(source).resolve(), recipe.resolve().parent
    return path.relative_to(home).as_posix() if path.is_relative_to(home) else str(path)
