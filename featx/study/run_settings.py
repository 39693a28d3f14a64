"""The settings in which the runs of one table differ, and labels of runs that state them."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featx.file_names import KEY_SUFFIX, MAX_NAME_BYTES, file_name
from featx.study.run_spec import AnyRunSpec

# Settings whose values are names that need no explanation, so that labels state the value alone.
NAMED_VALUES = frozenset({"embeddings", "strategy", "phases", "loss", "optimiser", "stacker"})
# Settings in the order in which labels state them before all others, if many differ.
LABEL_ORDER = ("strategy", "phases", "lr", "loss", "weights", "optimiser", "batch_size", "group_weight", "class_weight")
# Characters up to which a label names each embedding of a head.
MAX_EMBEDDINGS_LENGTH = 24
# Key of a file name that is compared without its key.
UNKNOWN_KEY = "00000000"
# Number of characters up to which the label of an ensemble names its members.
MAX_MEMBERS_LENGTH = 40


@dataclass(frozen=True)
class RunDescription:
    """Label of a run, and the settings that distinguish it from the other runs of a table.

    Attributes
    ----------
    label
        Head, backbone or ensemble method, and the settings after slashes, such as ``logreg/blocks.4`` and
        ``resnet18/all/lr=0.001``, or the name that a run was given; unique in the table, and without spaces, so that
        it can be typed.
    settings
        Name of a setting → its JSON value, for the settings in which runs of the same kind differ.
    """

    label: str
    settings: dict[str, Any]


def describe_runs(specs: Mapping[str, AnyRunSpec]) -> dict[str, RunDescription]:
    """Return for each run of a table the settings that differ between runs of its kind, and a label.

    Parameters
    ----------
    specs
        Run name → spec of the run.

    Notes
    -----
    Runs with equal settings, for example of weights that were changed, get the fingerprint in their name as well.
    """
    settings = _distinguishing_settings(specs)
    # Labels of ensembles contain those of their members.
    labels = _unique_labels({name: spec for name, spec in specs.items() if spec.kind != "ensemble"}, settings, {})
    labels = _unique_labels(specs, settings, labels)
    return {name: RunDescription(labels[name], settings[name]) for name in specs}


def _unique_labels(
    specs: Mapping[str, AnyRunSpec], settings: Mapping[str, dict[str, Any]], member_labels: Mapping[str, str]
) -> dict[str, str]:
    """Return run name → label; runs with the same label get the fingerprint in their name as well."""
    labels = {}
    embedding_lists = [run.get("embeddings") for run in settings.values()]
    all_embeddings = [name for names in embedding_lists if isinstance(names, list) for name in names]
    for name, spec in specs.items():
        same_stem = [
            settings[run]
            for run, other_spec in specs.items()
            if (other_spec.kind, other_spec.stem) == (spec.kind, spec.stem)
        ]
        label_settings = _shown_settings(settings[name], same_stem)
        if isinstance(label_settings.get("embeddings"), list):
            label_settings["embeddings"] = _embeddings_text(label_settings["embeddings"], all_embeddings)
        texts = [_typed_setting(key, value) for key, value in label_settings.items() if key != "members"]
        if "members" in label_settings:
            texts.append(_members_text([member_labels.get(member, member) for member in label_settings["members"]]))
        labels[name] = _given_name(name, spec) or "/".join([spec.stem, *texts])
    counts = Counter(labels.values())
    return {
        name: label if counts[label] == 1 else f"{label}/{name.rpartition('-')[2]}" for name, label in labels.items()
    }


def _given_name(name: str, spec: AnyRunSpec) -> str:
    """Return the name that ``featx runs rename`` gave to a run, without its key; empty for other runs.

    Other runs have names that begin with their head, section or backbone and end with their target; those of ensembles
    end with their method and target.
    """
    key = KEY_SUFFIX.search(name)
    if key is None or len(name.encode()) > MAX_NAME_BYTES:
        return ""
    start = "" if spec.kind == "ensemble" else file_name(spec.stem, UNKNOWN_KEY).removesuffix(f"-{UNKNOWN_KEY}")
    end = file_name(f"{spec.stem}-{spec.target}", UNKNOWN_KEY).removesuffix(f"-{UNKNOWN_KEY}")
    if spec.kind != "ensemble":
        end = end.removeprefix(start)
    given_name = name.removesuffix(key.group())
    return "" if given_name.startswith(start) and given_name.endswith(end) else given_name


def typed_names(names: Sequence[str], labels: Mapping[str, str]) -> list[str]:
    """Return for each run a name that means it alone: its label or, where runs of several targets share it, its name.

    Parameters
    ----------
    names
        Names of the runs.
    labels
        Run name → label, for the runs that have one.
    """
    short_names = [labels.get(name, name) for name in names]
    counts = Counter(short_names)
    return [short if counts[short] == 1 else name for name, short in zip(names, short_names, strict=True)]


def _typed_setting(name: str, value: Any) -> str:
    """Return a setting as a part of a label, without spaces.

    Examples
    --------
    >>> _typed_setting("strategy", "last-block"), _typed_setting("lr", 1e-4)
    ('last-block', 'lr=0.0001')
    >>> _typed_setting("phases", [{"trainable": "head", "lr": 1e-3, "epochs": 25}])
    'head:25x0.001'
    """
    if name == "phases":
        return "+".join(f"{phase['trainable']}:{phase['epochs']}x{phase['lr']:g}" for phase in value)
    text = setting_text(value).replace(" ", "")
    return text if name in NAMED_VALUES else f"{name}={text}"


def label_runs(specs: Mapping[str, AnyRunSpec]) -> dict[str, str]:
    """Return run name → label among the runs of its target."""
    specs_by_target: dict[str, dict[str, AnyRunSpec]] = {}
    for name, spec in specs.items():
        specs_by_target.setdefault(spec.target, {})[name] = spec
    return {name: run.label for group in specs_by_target.values() for name, run in describe_runs(group).items()}


def find_called(name: str, stems: Mapping[str, str], labels: Mapping[str, str]) -> list[str]:
    """Return the runs that a name means: those with this label, and those of the section, head or method of this name.

    If there is no such section, head or method, the name is the beginning of runs' names.

    Parameters
    ----------
    name
        The name that was typed.
    stems, labels
        Run name → its stem, and run name → its label.
    """
    is_stem = name in stems.values()
    return [
        run
        for run, stem in stems.items()
        if labels.get(run) == name or (stem == name if is_stem else run.startswith(name))
    ]


def _embeddings_text(names: Sequence[str], all_names: Sequence[str]) -> str:
    """Return the embeddings of a head, without what the names of all embeddings have in common, ``all``, or a number.

    Examples
    --------
    >>> names = ["resnet18/layer2/avg", "resnet18/layer3/avg", "resnet18/layer4/avg"]
    >>> _embeddings_text(names[:1], names), _embeddings_text(names[1:], names), _embeddings_text(names, names)
    ('layer2', 'layer3+layer4', 'all')
    """
    if len(names) > 1 and set(names) == set(all_names):
        return "all"
    parts_by_name = {name: re.split("[/,]", name) for name in all_names}
    shared_parts = set.intersection(*map(set, parts_by_name.values()))
    texts = ["/".join(part for part in parts_by_name[name] if part not in shared_parts) or name for name in names]
    text = "+".join(texts)
    return text if len(text) <= MAX_EMBEDDINGS_LENGTH else f"{len(names)}-embeddings"


def _members_text(labels: Sequence[str]) -> str:
    """Return the members that not all ensembles have, or their number if the labels are long."""
    text = f"members={setting_text(labels).replace(' ', '')}"
    return text if len(text) <= MAX_MEMBERS_LENGTH else f"{len(labels)}-own-member{'s' if len(labels) != 1 else ''}"


def _shown_settings(settings: Mapping[str, Any], same_stem: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings that a label states: as many as distinguish the runs whose labels begin with the same name.

    Parameters
    ----------
    settings
        The settings of the run that distinguish it.
    same_stem
        The settings of all runs whose labels begin with the same name.
    """
    distinguishing_names: list[str] = []
    for name in sorted(_differing_names(same_stem), key=lambda name: (_rank_in_label(name), name)):
        n_different = _count_different(same_stem, distinguishing_names)
        if _count_different(same_stem, [*distinguishing_names, name]) > n_different:
            distinguishing_names.append(name)
    return {name: settings[name] for name in distinguishing_names if name in settings}


def _rank_in_label(setting: str) -> int:
    return LABEL_ORDER.index(setting) if setting in LABEL_ORDER else len(LABEL_ORDER)


def _count_different(settings: Sequence[Mapping[str, Any]], names: Sequence[str]) -> int:
    """Return the number of runs that some of their settings distinguish."""
    return len({tuple(repr(run.get(name, "unset")) for name in names) for run in settings})


def replace_names(text: str, descriptions: Mapping[str, RunDescription]) -> str:
    """Return a stored text about runs with their labels in place of their names, which end with a fingerprint."""
    for name in sorted(descriptions, key=len, reverse=True):
        text = text.replace(name, descriptions[name].label)
    return text


def _distinguishing_settings(specs: Mapping[str, AnyRunSpec]) -> dict[str, dict[str, Any]]:
    """Return for each run the settings of which another run of its kind has another value or none."""
    all_settings = {name: spec.settings for name, spec in specs.items()}
    members = [set(settings["members"]) for settings in all_settings.values() if "members" in settings]
    shared_members = set.intersection(*members) if members else set()
    settings_by_kind: dict[str, list[dict[str, Any]]] = {}
    for name, settings in all_settings.items():
        if "members" in settings:
            settings["members"] = [member for member in settings["members"] if member not in shared_members]
        settings_by_kind.setdefault(specs[name].kind, []).append(settings)
    differing_names = {kind: _differing_names(settings) for kind, settings in settings_by_kind.items()}
    return {
        name: {key: value for key, value in settings.items() if key in differing_names[specs[name].kind]}
        for name, settings in all_settings.items()
    }


def _differing_names(settings: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the names of the settings that do not have the same value in all runs."""
    names = {name for run in settings for name in run}
    return {name for name in names if len({repr(run.get(name, "unset")) for run in settings}) > 1}


def setting_text(value: Any) -> str:
    """Return the value of a setting as text.

    Examples
    --------
    >>> setting_text(1e-4), setting_text([256, 128]), setting_text(None), setting_text(True)
    ('0.0001', '256-128', 'default', 'yes')
    >>> setting_text([{"trainable": "head", "lr": 1e-3, "epochs": 25}, {"trainable": "all", "lr": 1e-4, "epochs": 5}])
    'head 25 × 0.001 → all 5 × 0.0001'
    """
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if not isinstance(value, list | tuple):
        return str(value)
    if value and isinstance(value[0], Mapping):
        return " → ".join(f"{phase['trainable']} {phase['epochs']} × {phase['lr']:g}" for phase in value)
    separator = " + " if value and isinstance(value[0], str) else "-"
    return separator.join(map(setting_text, value)) or "none"
