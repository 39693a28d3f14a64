"""Part folders above class folders: ``train``, ``val``, ``test``, or names that share other words: ``seg_train``."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote

from featx.errors import DataError
from featx.images.names import PART_WORDS, find_part, part_of, split_words
from featx.images.sources import join_place
from featx.images.trees import Entries

# Names of the only folder of a test part whose images have no labels.
GENERAL_FOLDERS = frozenset(
    {"", "test", "test1", "images", "image", "img", "imgs", "unknown", "unlabelled", "unlabeled", "all"}
)
OUTSIDE_RULE = "has no label: it is outside the part folders"
# Words in the names of folders beside part folders whose images have no labels.
UNLABELLED_WORDS = frozenset({"pred", "predict", "prediction", "predictions", "unlabelled", "unlabeled", "unsup"})


@dataclass(frozen=True)
class PartFolders:
    """The folders at the top of a source that are parts.

    Attributes
    ----------
    parts
        Part of each top folder that is one; empty if the top folders are classes.
    doubled_folders
        Top folders that hold only a folder of their own name, which holds the rest.
    unlabelled_folders
        Top folders without class folders, whose images have no labels.
    warnings
        Messages about names that the user should check.
    """

    parts: Mapping[str, str] = field(default_factory=dict)
    doubled_folders: Collection[str] = frozenset()
    unlabelled_folders: Collection[str] = frozenset()
    warnings: tuple[str, ...] = ()

    @property
    def class_depth(self) -> int:
        """Depth of the class folders: 2 below part folders, otherwise 1."""
        return 2 if self.parts else 1

    def path_components(self, folder: str) -> list[str]:
        """Return the names of a folder and of those above it, without the second name of a doubled folder."""
        return _split_folder(folder, self.doubled_folders)

    def has_class_folders(self, folders: Iterable[str]) -> bool:
        """Whether one of the folders of the images is a class folder or lies in one."""
        paths = [self.path_components(folder) for folder in folders if folder]
        return any(len(names) >= self.class_depth and names[0] not in self.unlabelled_folders for names in paths)

    def unlabelled_rules(self, images: Entries) -> dict[str, str]:
        """Return a rule by name for the images that can only be predicted: outside parts, or without class folders."""
        rules = {
            entry.name: f"has no label: {top!r} has no class folders (its images can be predicted)"
            for entry in images
            if (top := entry.name.partition("/")[0]) in self.unlabelled_folders
        }
        if self.parts:
            rules |= {entry.name: OUTSIDE_RULE for entry in images if entry.is_image and not entry.folder}
        return rules


def find_part_folders(place: str, folders: Sequence[str]) -> PartFolders:
    """Return the top folders that are parts: one is train, and all are train, val, test or without labels.

    Parameters
    ----------
    place
        The source, for messages.
    folders
        Folders of the images.

    Raises
    ------
    DataError
        there are folders called ``train`` and the like, and other folders.
    """
    tops = sorted({folder.partition("/")[0] for folder in folders if folder})
    doubled = _find_doubled(folders)
    inner_folders = _list_inner_folders(folders, doubled)
    parts = {top: part for top in tops if (part := part_of(top))}
    if "train" not in parts.values():
        return _find_parts_by_words(place, tops, doubled, inner_folders)
    unlabelled = _find_unlabelled(tops, parts, inner_folders)
    if other_folders := [top for top in tops if top not in parts and top not in unlabelled]:
        are_all_classes = len(parts) == 1 and not any("/" in folder for folder in folders)
        advice = (
            f"; if {next(iter(parts))!r} is a class too, run: featx init {quote(place)} --labels '{{class}}/{{image}}'"
            if are_all_classes
            else ""
        )
        raise DataError(
            f"the source holds part folders ({', '.join(map(repr, parts))}) and {len(other_folders)} other, first "
            f"{other_folders[0]!r}; expected only part folders (train, val, test), or only classes; move the other "
            f"folders out of the source{advice}"
        )
    return PartFolders(parts, doubled, unlabelled)


def _find_parts_by_words(
    place: str, tops: Sequence[str], doubled: Collection[str], inner_folders: Mapping[str, set[str]]
) -> PartFolders:
    """Return the parts whose names differ only in the word for the part, such as ``seg_train``, with a warning."""
    parts = {top: part for top in tops if (part := find_part(top))}
    common_words_by_top = {top: tuple(word for word in split_words(top) if word not in PART_WORDS) for top in parts}
    train_tops = [
        top
        for top, part in parts.items()
        if part == "train"
        and any(
            common_words_by_top[other_top] == common_words_by_top[top] and parts[other_top] != part
            for other_top in parts
        )
    ]
    if not train_tops:
        return PartFolders()
    common_words = common_words_by_top[train_tops[0]]
    parts = {top: part for top, part in parts.items() if common_words_by_top[top] == common_words}
    unlabelled = _find_unlabelled(tops, parts, inner_folders, common_words)
    names_text = ", ".join(f"{top!r} ({part})" for top, part in parts.items())
    if len(inner_folders[train_tops[0]] - {""}) < 2 or any(top not in parts and top not in unlabelled for top in tops):
        train_place = quote(join_place(place, train_tops[0]))
        return PartFolders(
            warnings=(
                f"the folders {names_text} look like parts of a split, and are read as classes; if they are parts, "
                f"run: featx init {train_place} --force",
            )
        )
    warning = f"the folders {names_text} are read as parts of a split, and the folders in them as classes"
    return PartFolders(parts, doubled, unlabelled, (warning,))


def _find_unlabelled(
    tops: Iterable[str],
    parts: Mapping[str, str],
    inner_folders: Mapping[str, set[str]],
    common_words: tuple[str, ...] = (),
) -> frozenset[str]:
    """Return the parts but train that hold their images directly, and folders such as ``pred`` that do so.

    A test part and the other folders may also hold their images in one folder with a general name.
    """
    prediction_folders = [
        top
        for top in tops
        if top not in parts
        and UNLABELLED_WORDS & set(split_words(top))
        and {*split_words(top)} <= {*UNLABELLED_WORDS, *common_words}
    ]
    return frozenset(
        top
        for top, folders in ((top, inner_folders[top]) for top in (*parts, *prediction_folders))
        if (parts.get(top) != "train" and folders == {""})
        or (parts.get(top, "test") == "test" and len(folders) == 1 and folders <= GENERAL_FOLDERS)
    )


def _find_doubled(folders: Iterable[str]) -> frozenset[str]:
    """Return the top folders whose only content is a folder of the same name.

    A train folder is among them only if the inner folder holds class folders.
    """
    paths = [folder.split("/") for folder in folders if folder]
    single_child_folders = {names[0] for names in paths} - {names[0] for names in paths if names[1:2] != names[:1]}
    nested_folders = {names[0] for names in paths if len(names) > 2}
    return frozenset(top for top in single_child_folders if top in nested_folders or find_part(top) != "train")


def _list_inner_folders(folders: Iterable[str], doubled: Collection[str]) -> dict[str, set[str]]:
    """Return the names of the folders that hold images in each top folder; an empty name for the top folder itself."""
    inner_folders: dict[str, set[str]] = {}
    for folder in filter(None, folders):
        top, *names = _split_folder(folder, doubled)
        inner_folders.setdefault(top, set()).add(names[0] if names else "")
    return inner_folders


def _split_folder(folder: str, doubled: Collection[str]) -> list[str]:
    names = folder.split("/") if folder else []
    return [names[0], *names[2:]] if names and names[0] in doubled and names[1:2] == names[:1] else names
