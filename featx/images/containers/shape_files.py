"""One file of shapes per image: LabelMe's JSON and Pascal VOC's XML, which name the objects in the image."""

from xml.parsers import expat

from featx.errors import DataError
from featx.files.parsing import ParseError, parse_json
from featx.images.containers.categories import (
    Categories,
    CategoryReader,
    find_twins,
    list_first_annotations,
    read_annotation,
)
from featx.images.names import PARTS, base_name
from featx.images.trees import Entry, Tree

# Number of annotation files that are inspected.
MAX_INSPECTED_FILES = 5
# Folder of Pascal VOC's lists of stems, one file per part.
VOC_LISTS = "ImageSets/Main/"
VOC_NAME_PATH = ["annotation", "object", "name"]


class ShapeFileReader(CategoryReader):
    """Base of the readers of one annotation file per image.

    Attributes
    ----------
    suffix
        Suffix of the annotation files.
    """

    suffix: str

    def has_annotations(self, tree: Tree) -> bool:
        """Whether most images have annotation files, and the first ones have this format."""
        files = list_first_annotations(tree, self.suffix, MAX_INSPECTED_FILES)
        try:
            return bool(files) and all(self.read_names(file) is not None for file in files)
        except DataError:
            return False

    def read_categories(self, tree: Tree) -> Categories:
        """Return the categories of all images that have an annotation file."""
        images, files = find_twins(tree, self.suffix)
        categories = Categories()
        for key, image in images.items():
            if key in files:
                names = self.read_names(files[key])
                if names is None:
                    raise DataError(f"annotation {files[key].name!r} is not of format {self.name!r}; remove it")
                categories.by_image[image] = names
                categories.annotations[files[key].name] = "is an annotation"
        return categories

    def read_names(self, file: Entry) -> set[str] | None:
        """Return the names of the objects in a file; None if it has another format.

        Raises
        ------
        DataError
            it cannot be read.
        """
        raise NotImplementedError


class LabelMeReader(ShapeFileReader):
    """Reads the labels of the shapes in LabelMe's JSON files."""

    name = "labelme"
    rank = 12
    suffix = ".json"

    def read_names(self, file: Entry) -> set[str] | None:
        """Return the labels of the shapes in a file; None if it has no list of shapes."""
        try:
            value = parse_json(read_annotation(file))
        except ParseError as error:
            raise DataError(f"annotation {file.name!r} {error}; correct or remove it") from error
        shapes = value.get("shapes") if isinstance(value, dict) else None
        if not isinstance(shapes, list) or not all(isinstance(shape, dict) and "label" in shape for shape in shapes):
            return None
        return {str(shape["label"]) for shape in shapes}


class VocReader(ShapeFileReader):
    """Reads the names of the objects in Pascal VOC's XML files; ``ImageSets/Main`` gives the parts."""

    name = "voc"
    rank = 14
    suffix = ".xml"

    def read_names(self, file: Entry) -> set[str] | None:
        """Return the names of the objects in a file; None if its root is not an annotation."""
        path: list[str] = []
        root: list[str] = []
        texts: list[str] = []

        def start(tag: str, attributes: dict[str, str]) -> None:
            root.extend([tag] if not root else [])
            path.append(tag)
            if path == VOC_NAME_PATH:
                texts.append("")

        def add_text(text: str) -> None:
            if path == VOC_NAME_PATH:
                texts[-1] += text

        def refuse(*_: object) -> None:
            raise ValueError("it defines a document type")

        parser = expat.ParserCreate()
        parser.StartElementHandler, parser.EndElementHandler = start, lambda tag: path.pop()
        # Entities of a document type could expand to any size.
        parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = add_text, refuse
        try:
            parser.Parse(read_annotation(file), True)
        except (expat.ExpatError, ValueError) as error:
            raise DataError(f"annotation {file.name!r} cannot be read as XML: {error}; correct or remove it") from error
        return {text.strip() for text in texts} if root == VOC_NAME_PATH[:1] else None

    def read_categories(self, tree: Tree) -> Categories:
        """Return the categories of all images, and the parts that the lists of stems name."""
        categories = super().read_categories(tree)
        parts: dict[str, str] = {}
        for entry in tree.entries().readable(".txt"):
            stem = base_name(entry.name).removesuffix(".txt")
            if f"/{entry.name}".endswith(f"/{VOC_LISTS}{stem}.txt") and stem in PARTS:
                lines = read_annotation(entry).decode("utf-8", "replace").splitlines()
                parts |= {words[0]: PARTS[stem] for line in lines if (words := line.split())}
                categories.annotations[entry.name] = "lists the images of a part"
        for image in categories.by_image:
            if part := parts.get(base_name(image.name).rpartition(".")[0]):
                categories.parts[image.name] = part
        return categories
