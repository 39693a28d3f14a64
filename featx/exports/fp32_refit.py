"""Refits on embeddings in fp32, for files that predict exactly as the exported run does."""

from featx.artifacts.export_card import Parity
from featx.artifacts.header import Header
from featx.embeddings.fp32_extraction import extract_in_fp32, is_reduced
from featx.errors import DataError, UnsuitedError
from featx.exports.stored_outputs import measure_parity, stored_outputs
from featx.heads.refit import refit_on_embeddings
from featx.predictors.loading import load
from featx.predictors.models import Model
from featx.progress import ProgressCallback
from featx.study.run_folder import RunFolder
from featx.study.study import Study


def check_precision_options(precision: str | None, refit: bool) -> None:
    """Check that a precision and a refit are requested together.

    Raises
    ------
    DataError
        One of them is missing, or the precision is not ``fp32``.
    """
    if precision not in {None, "fp32"}:
        raise DataError(f"files are not exported in precision {precision!r}; expected '--precision fp32 --refit'")
    if precision is None and refit:
        raise DataError("'--refit' fits the head on embeddings in another precision; add '--precision fp32'")
    if precision is not None and not refit:
        raise DataError("a head has to be fitted again for embeddings in another precision; add '--refit'")


def refit_in_fp32(study: Study, run: RunFolder, progress: ProgressCallback) -> RunFolder:
    """Return a run with the setting of a head, fitted on the same train rows with the same embeddings in fp32.

    Parameters
    ----------
    study, run
        The study and the run, which is returned itself, with a note, if its embeddings are in fp32 already.
    progress
        Function that is called as the work advances.

    Raises
    ------
    UnsuitedError
        The run is no head.
    DataError
        The run is itself a refit, or it uses vectors that were made elsewhere.
    """
    if run.kind != "head":
        raise UnsuitedError(f"{run.name} is of kind {run.kind!r}; only heads can be refitted: leave out '--refit'")
    model = load(run.path)
    if not any(is_reduced(embedding.spec) for embedding in model.embeddings):
        progress("note", 0, 1, f"the embeddings of {run.name} are in fp32 already: it is exported without a refit")
        return run
    if run.refit_of is not None:
        raise DataError(f"{run.name} is itself a refit; export {run.refit_of} with '--precision fp32 --refit'")
    if external := [item.request.name for item in model.embeddings if item.request.vectors is not None]:
        raise DataError(
            f"{run.name} uses {external[0]!r}, vectors that were made elsewhere, so that only the head is exported, "
            "which agrees with the run in any precision; leave out '--precision fp32 --refit'"
        )
    locked = extract_in_fp32(study, model.local_embeddings, progress)
    return refit_on_embeddings(study, run, locked, "refit-fp32", progress=progress)


def parity_with_source(study: Study, run: RunFolder, header: Header, model: Model) -> Parity | None:
    """Return the agreement of a run that was refitted on the same train rows with the run that it was made from.

    It is measured on all val rows, without a val part on all test rows, by the stored predictions of both.

    Returns
    -------
    Parity or None
        None for a run that is no refit, one that learnt from more rows than its source, and one whose source was
        removed.
    """
    if run.refit_of is None or header.refit is None or header.refit.parts != ("train",):
        return None
    source = RunFolder(run.path.parent / run.refit_of)
    part = "val" if len(study.ids("val")) else "test"
    ids = study.ids(part)
    if not source.path.is_dir() or not len(ids):
        return None
    return measure_parity(header, stored_outputs(run, model, ids), stored_outputs(source, model, ids), part)
