"""Model cards: ``MODEL_CARD.md`` in the folder of each run, with metadata as Hugging Face reads them."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from featx.artifacts.header import Header, read_header
from featx.evaluation.evaluation_table import Evaluation, RunEvaluation
from featx.files.atomic import write_text
from featx.metrics.score_texts import ScoreFormat
from featx.reports.study_report.facts import RunFacts, TargetFacts, interval_text, plural, score_name
from featx.specs.split import PARTS
from featx.tables.ids import Kind
from featx.text.sanitising import sanitise_text

MODEL_CARD = "MODEL_CARD.md"
# Part of scored rows → their split on Hugging Face, and their name. Out-of-fold rows are rows of train.
SPLITS = {"val": ("validation", "validation"), "oof": ("train", "out-of-fold train"), "test": ("test", "test")}
# Names of tasks on Hugging Face; there is none for numbers from images.
TASKS: dict[Kind, str] = {"classes": "image-classification", "labels": "image-classification", "numbers": "other"}
MARKDOWN_MARKS = re.compile(r"([\\`*_{}\[\]<>|#])")
# Number of class names in a card.
MAX_NAMED_CLASSES = 50


def write_model_cards(facts: TargetFacts) -> list[Path]:
    """Write the card of each run of a target into the folder of the run, and return their paths."""
    paths = []
    for run in facts.runs:
        paths.append(run.folder.path / MODEL_CARD)
        write_text(paths[-1], model_card(facts, run))
    return paths


def model_card(facts: TargetFacts, run: RunFacts) -> str:
    """Return the card of one run: metadata, then use, data, scores, limits, loading and provenance as Markdown."""
    header = read_header(run.folder.path)[1]
    parts = [
        f"# {markdown(run.label)}",
        f"{_kind_text(run, header)} of the study {markdown(facts.study.recipe.name)}, made with featx. Folder of the "
        f"run: `{run.name}`.",
        "## Intended use",
        _use(facts, run),
        "## Data",
        _data(facts),
        "## Scores",
        _scores(facts, run),
        "## Limits and warnings",
        _limits(facts, run),
        "## How to load",
        _loading(header, run),
        "## Provenance",
        _provenance(header),
    ]
    return f"---\n{_metadata(facts, run)}\n---\n\n" + "\n\n".join(parts) + "\n"


def markdown(text: str) -> str:
    r"""Return text from data as Markdown that shows it unchanged, on one line.

    Examples
    --------
    >>> print(markdown("<b>|_a_"))
    \<b\>\|\_a\_
    """
    return MARKDOWN_MARKS.sub(r"\\\1", sanitise_text(text))


def _metadata(facts: TargetFacts, run: RunFacts) -> str:
    """Return the block of metadata as YAML."""
    from huggingface_hub import EvalResult, ModelCardData

    task, recipe = TASKS[facts.evaluation.kind], sanitise_text(facts.study.recipe.name)
    rows = [(facts.evaluation.part, run.evaluation), *(("test", row) for row in _test_rows(facts, run))]
    results = [
        EvalResult(
            task_type=task,
            dataset_type=recipe,
            dataset_name=f"{recipe}, {SPLITS[part][1]} rows",
            dataset_split=SPLITS[part][0],
            metric_type=name,
            metric_name=score_name(name),
            metric_value=float(f"{row.scores[name]:.6g}"),
        )
        for part, row in rows
        for name in dict.fromkeys((facts.evaluation.compared, facts.evaluation.main_score))
        if math.isfinite(row.scores.get(name, math.nan))
    ]
    data = ModelCardData(
        library_name="featx",
        pipeline_tag=None if task == "other" else task,
        tags=["featx", run.folder.kind, facts.evaluation.kind],
        model_name=sanitise_text(run.name),
        metrics=list(dict.fromkeys((facts.evaluation.compared, facts.evaluation.main_score))),
        eval_results=results or None,
    )
    return data.to_yaml()


def _test_rows(facts: TargetFacts, run: RunFacts) -> list[RunEvaluation]:
    """Return the test scores of a run in a list, which is empty if there are none."""
    return [] if facts.final is None else [row for row in facts.final.rows if row.run == run.name]


def _kind_text(run: RunFacts, header: Header) -> str:
    if header.kind == "network":
        return "Fine-tuned network"
    if header.kind == "smoothed":
        return f"Vote over noisy copies of an image by {markdown(next(iter(run.folder.members)))}"
    if header.kind == "ensemble":
        return f"Ensemble of {plural(len(run.folder.members), 'run')}"
    return "Classifier or regressor on frozen embeddings"


def _use(facts: TargetFacts, run: RunFacts) -> str:
    names = run.targets.names
    names_text = ", ".join(map(markdown, names[:MAX_NAMED_CLASSES]))
    tail = f" and {len(names) - MAX_NAMED_CLASSES} more" if len(names) > MAX_NAMED_CLASSES else ""
    verb = {"classes": "one of the classes", "labels": "any of the labels", "numbers": "the numbers"}
    return (
        f"Predicts {verb[facts.evaluation.kind]} {names_text}{tail} of target {markdown(facts.target)} for images like "
        "those of the study. Images from another source, camera or population are outside of what was tested."
    )


def _data(facts: TargetFacts) -> str:
    study = facts.study
    sizes = ", ".join(f"{len(study.ids(part)):,} in {part}" for part in PARTS)
    source = markdown(study.recipe.data.source)
    return f"{study.n_images:,} images from {source}; with embeddings {sizes}."


def _scores(facts: TargetFacts, run: RunFacts) -> str:
    """Return a table of all scores with their 95 % intervals, on the selection rows and on test if it was opened."""
    columns = [(facts.evaluation, run.evaluation)]
    columns += [(facts.final, row) for row in _test_rows(facts, run) if facts.final is not None]
    titles = [f"{table.part} (n {row.scores['n']:,})" for table, row in columns]
    lines = [f"| score | {' | '.join(titles)} |", f"|---|{'---|' * len(titles)}"]
    lines += [
        f"| {markdown(score_name(name))} | {' | '.join(_score_text(row, name) for _, row in columns)} |"
        for name in facts.evaluation.scores
    ]
    choice_text = "This is the chosen run of its target" if run.is_chosen else "Another run was chosen for its target"
    return "\n".join(
        [f"{choice_text}, by {score_name(facts.evaluation.chosen_by)}. In parentheses: 95 % intervals.", "", *lines]
    )


def _score_text(row: RunEvaluation, name: str) -> str:
    value = row.scores.get(name)
    if value is None:
        return "–"
    score_format = ScoreFormat.of(name, [value])
    edges = f" ({interval_text(row.intervals[name], score_format.value)})" if name in row.intervals else ""
    return f"{score_format.show(value)}{edges}"


def _limits(facts: TargetFacts, run: RunFacts) -> str:
    evaluation = facts.evaluation
    texts = [warning.text for warning in run.folder.metrics.run_warnings] + evaluation.warnings
    texts += _weak_groups(evaluation) if run.is_chosen else []
    if evaluation.part != "test" and not _test_rows(facts, run):
        texts.append("there are no test scores; scores on rows that runs were chosen by are slightly optimistic")
    return "\n".join(f"- {markdown(text)}." for text in texts) or "No warnings."


def _weak_groups(evaluation: Evaluation) -> Sequence[str]:
    return [
        f"{grouping.name} {group.name} has significantly larger errors than the other rows"
        for grouping in evaluation.groupings
        for group in grouping.groups
        if group.is_flagged
    ]


def _loading(header: Header, run: RunFacts) -> str:
    folders_text = (
        "The folders of its members must be beside it." if run.folder.members else "The folder is all it needs."
    )
    embeddings = ", ".join(markdown(embedding.request.name) for embedding in header.embeddings)
    weights = f" Images are embedded with {embeddings}." if embeddings else ""
    code = ["```python", "import featx", "", f'model = featx.load("{run.name}")', 'model.predict_images(["photo.png"])']
    return "\n".join(
        [*code, "```", "", f"{folders_text}{weights} featx verifies checksums and outputs when it loads a run."]
    )


def _provenance(header: Header) -> str:
    lines = [
        f"Created {header.created}" + (f" at commit {header.commit[:12]}" if header.commit else ""),
        f"SHA-256 of the model's file: `{header.body_sha256}`",
        f"SHA-256 of the ids of the train rows: `{header.train_ids_sha256}`",
        f"Packages: {', '.join(f'{name} {number}' for name, number in header.versions.items())}",
    ]
    lines += [
        f"Weights of {markdown(embedding.request.name)}: SHA-256 `{embedding.spec.weights_sha256}`"
        for embedding in header.embeddings
    ]
    return "\n".join(f"- {line}" for line in lines)
