"""Copies of images, and groups, that are in several parts of the split."""

from collections.abc import Mapping

from featx.evaluation.leaks import CopyPair, Leaks
from featx.reports.page.components import Component, Gallery, GalleryItem, Picture, Section, Text
from featx.reports.study_report.facts import plural

MAX_SHOWN_PAIRS = 12


def select_pairs(leaks: Leaks) -> list[CopyPair]:
    """Return the pairs that are shown: those whose labels differ, then near copies, then exact ones."""
    return sorted(leaks.pairs, key=lambda pair: (not pair.disagreeing, pair.kind == "exact"))[:MAX_SHOWN_PAIRS]


def build_leaks(leaks: Leaks, pictures: Mapping[str, Picture]) -> Section | None:
    """Return the section about leaks; None if there are none."""
    if not (leaks.pairs or leaks.groups):
        return None
    components: list[Component] = []
    if leaks.pairs:
        counts = ", ".join(f"{n} in {part}" for part, n in leaks.n_images.items())
        disagreement_text = (
            f"{plural(len(leaks.disagreeing), 'pair')} have labels that differ. " if leaks.disagreeing else ""
        )
        pairs = select_pairs(leaks)
        text = (
            f"{plural(len(leaks.pairs), 'pair')} of copies are in different parts of the split; images with a copy in "
            f"another part: {counts}. {disagreement_text}All pairs are listed in {leaks.file}."
        )
        caption = f"{len(pairs)} of {plural(len(leaks.pairs), 'pair')} of copies."
        components = [Text(text, "warning"), Gallery("copies", caption, [_pair_item(pair, pictures) for pair in pairs])]
    components += [
        Text(
            f"{group.n_leaking_groups} of {group.n_groups} groups of {group.name} are in several parts, first "
            f'{group.first}. If an image shows which group it belongs to, set split.by = "{group.column}" to keep '
            "groups in one part.",
            "warning",
        )
        for group in leaks.groups
    ]
    return Section("Copies in several parts", components)


def _pair_item(pair: CopyPair, pictures: Mapping[str, Picture]) -> GalleryItem:
    kind = f"near, similarity {pair.similarity:.4f}" if pair.kind == "near" else pair.kind
    lines = [kind, *(f"{target}: {' / '.join(map(str, pair.labels[target]))}" for target in pair.disagreeing)]
    name = f"{pair.id} ({pair.part}) and {pair.copy} ({pair.copy_part})"
    return GalleryItem(name, [pictures[pair.id], pictures[pair.copy]], lines)
