"""Turn images and labels into models that are compared with confidence intervals and tests.

The flow, each arrow a table joined by id::

    init      look at a source, write a recipe
    extract   images  → embeddings, cached by content
    explore   a look at images and labels before and after training: tables
    fit       embeddings → tuned heads, a run folder each
    refit     a tuned head on train and val rows, for deployment ('featx fit --refit')
    finetune  images → networks trained from a boundary on, runs as well
    ensemble  runs → votes, runs as well
    evaluate  all runs on the same rows; the test split only with `final`
    attack    robust accuracy of runs on adversarially perturbed images
    smooth    votes of a run over noisy images, with a radius within which no attack changes the class
    corrupt   every run's score on images with noise, blur, weather and other corruptions
    leaks     images with copies in another part, and labels on which copies disagree
    report    one HTML page
    predict   every run's prediction for new images
    load      a run as an object that predicts
    export    a run for other software: ONNX, skops, joblib
    run       all of these for a recipe
    doctor    a description of this machine, and a comparison of its runtimes and precisions

    featx.cache    a module: list, verify, compact, clear up and export what is cached
    ImageEmbedder  a scikit-learn transformer over the same engine and cache

Every command of ``featx`` that does something is the function of the same name here; names are imported when they
are first used.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "init": "featx.images.init",
    "extract": "featx.embeddings.extract",
    "explore": "featx.exploration.explore",
    "fit": "featx.heads.fit",
    "refit": "featx.heads.refit",
    "finetune": "featx.finetuning.finetune",
    "ensemble": "featx.ensembles.ensemble",
    "evaluate": "featx.evaluation.evaluate",
    "leaks": "featx.evaluation.leaks",
    "attack": "featx.robustness.attack",
    "smooth": "featx.robustness.smooth",
    "corrupt": "featx.robustness.corrupt",
    "report": "featx.reports.report",
    "export": "featx.exports.export",
    "predict": "featx.predictors.loading",
    "load": "featx.predictors.loading",
    "run": "featx.workflow.run",
    "doctor": "featx.embeddings.doctor",
    "FeatxError": "featx.errors",
    "ImageEmbedder": "featx.embeddings.transformer",
}

__all__ = [
    "FeatxError",
    "ImageEmbedder",
    "attack",
    "corrupt",
    "doctor",
    "ensemble",
    "evaluate",
    "explore",
    "export",
    "extract",
    "finetune",
    "fit",
    "init",
    "leaks",
    "load",
    "predict",
    "refit",
    "report",
    "run",
    "smooth",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("featx")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'featx' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
