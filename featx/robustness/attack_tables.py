"""Tables of attack results by id, and the perturbed images that count for each run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.robustness.attack_storage import AttackFiles
from featx.specs.attacking import AttackSpec, Norm
from featx.tables.ids import Floats, Ids

# Columns of the probabilities or numbers that a run predicts before and after the attack begin with these.
CLEAN, ATTACKED = "clean.", "attacked."
# A perturbation in single precision exceeds its limit by less than these, relative and absolute.
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-5, 1e-6


@dataclass(frozen=True)
class EvaluatedAttack:
    """An attack, and the properties of its method that decide which images count.

    Attributes
    ----------
    spec
        The attack.
    has_limit, needs_gradient, made_by
        As in `featx.robustness.attacks.attack_method.AttackMethod`.
    """

    spec: AttackSpec
    has_limit: bool
    needs_gradient: bool
    made_by: str = ""

    @property
    def eps(self) -> float | None:
        """Limit of the attack; None if it has none."""
        return self.spec.eps if self.has_limit else None


@dataclass(frozen=True, eq=False)
class AttackTable:
    """Predictions of every run for the images that one attack made on one run.

    Attributes
    ----------
    attack
        The attack.
    source
        Name of the attacked run.
    rows
        Name of a run → its rows, in the order of `ids`, with the columns ``id``, ``digest``, ``true``, ``clean`` and
        ``attacked`` (predictions as text), ``is_right_before``, ``is_right``, ``linf`` and ``l2`` (norms of the
        perturbation, for pixels in [0, 1]), ``n_queries``, ``seconds``, and the predicted probabilities or numbers
        before (``clean.NAME``) and after the attack (``attacked.NAME``).
    has_gradient
        Name of a run → whether attacks use its exact gradient.
    files
        Files of the attack.
    """

    attack: EvaluatedAttack
    source: str
    rows: dict[str, pd.DataFrame]
    has_gradient: Mapping[str, bool]
    files: AttackFiles

    @classmethod
    def read(cls, files: AttackFiles) -> "AttackTable":
        """Return the stored table of an attack, whose rows are those of all runs one below the other."""
        content, frame = files.read()
        attack = EvaluatedAttack(content.spec, content.has_limit, content.needs_gradient)
        rows = {str(run): part.reset_index(drop=True) for run, part in frame.groupby("run", sort=False)}
        return cls(attack, content.source, rows, content.has_gradient, files)

    @cached_property
    def ids(self) -> Ids:
        """Ids of the attacked images."""
        return next(iter(self.rows.values()))["id"].to_numpy(object)

    def norms(self, norm: Norm) -> Floats:
        """Return the (n,) norms of the perturbations."""
        return next(iter(self.rows.values()))[norm].to_numpy(np.float64)

    def is_wrong(self, run: str) -> NDArray[np.bool_]:
        """Return (n,) whether a run predicts each perturbed image wrongly."""
        return ~self.rows[run]["is_right"].to_numpy(bool)

    def is_wrong_before(self, run: str) -> NDArray[np.bool_]:
        """Return (n,) whether a run predicts each unperturbed image wrongly."""
        return ~self.rows[run]["is_right_before"].to_numpy(bool)

    def smallest_norms(self, run: str, norm: Norm) -> Floats:
        """Return the (n,) norms of successful perturbations.

        They are 0 where a run is wrong without a perturbation, and infinite where it stays right.
        """
        norms = np.where(self.is_wrong(run), self.norms(norm), np.inf)
        return np.where(self.is_wrong_before(run), 0.0, norms)

    def changes(self, run: str) -> Floats:
        """Return the (n,) changes of the number that a run predicts."""
        clean_outputs, attacked_outputs = (self.outputs(run, prefix)[:, 0] for prefix in (CLEAN, ATTACKED))
        return np.asarray(attacked_outputs - clean_outputs, dtype=np.float64)

    def outputs(self, run: str, prefix: str) -> Floats:
        """Return the (n, k) probabilities or numbers of a run before (`CLEAN`) or after the attack (`ATTACKED`)."""
        frame = self.rows[run]
        return frame[[name for name in map(str, frame.columns) if name.startswith(prefix)]].to_numpy(np.float64)


def is_within(norms: Floats, eps: float) -> NDArray[np.bool_]:
    """Return whether finite norms are within a limit, up to rounding."""
    return np.isfinite(norms) & (norms <= eps * (1 + RELATIVE_TOLERANCE) + ABSOLUTE_TOLERANCE)


def counted_tables(tables: Sequence[AttackTable], attack: EvaluatedAttack, run: str) -> list[AttackTable]:
    """Return the tables whose images count for a run under one attack.

    Images that were made on the run itself count alone. For a run without gradient, on which the attack cannot be made,
    all images that it made on other runs count, and those of the Square attack on the run within the same limit. For
    ``transfer``, all images of other runs count. There are none if the attack was not made on the run.
    """
    tables_of_run = [table for table in tables if run in table.rows]
    if attack.made_by:
        generator_spec = attack.spec.model_copy(update={"method": attack.made_by})
        return [table for table in tables_of_run if table.attack.spec == generator_spec and table.source != run]
    matching_tables = [table for table in tables_of_run if table.attack.spec == attack.spec]
    run_tables = [table for table in matching_tables if table.source == run]
    if not attack.needs_gradient or any(table.has_gradient[run] for table in tables_of_run):
        return run_tables
    if not attack.has_limit:
        return matching_tables
    limit = attack.spec.norm, attack.spec.eps
    searches = [table for table in tables_on(tables, run, *limit) if table.attack.spec.method == "square"]
    return [*matching_tables, *searches] if searches else []


def tables_on(tables: Sequence[AttackTable], run: str, norm: Norm, eps: float) -> list[AttackTable]:
    """Return the tables of the attacks on a run with a limit; every attacked run has one, if only of a search."""
    limit = norm, eps
    return [
        table
        for table in tables
        if table.source == run and table.attack.has_limit and (table.attack.spec.norm, table.attack.spec.eps) == limit
    ]
