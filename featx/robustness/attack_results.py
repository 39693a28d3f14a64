"""Evaluation of attacks: robust accuracies with intervals and tests, from the tables of all attacks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.robustness.attack_statistics import AttackedUnits
from featx.robustness.attack_storage import MAX_CHANCE, SEARCH_IS_STRONGER, CheckOutcomes, StoredAttack
from featx.robustness.attack_tables import AttackTable, EvaluatedAttack, counted_tables, is_within, tables_on
from featx.robustness.robustness_evaluation import (
    WORST_CASE,
    AttackedRunSummary,
    LargestChange,
    RobustAccuracy,
    RobustnessEvaluation,
    TransferAccuracy,
    limit_text,
)
from featx.specs.attacking import AttackSpec, Norm
from featx.tables.ids import Floats, Ids, Kind

# Norms in the order in which results are shown.
NORMS: tuple[Norm, ...] = ("linf", "l2")
# The search without gradients, and the methods that follow gradients in many steps, which should be as strong.
SEARCH, STRONG_METHODS = "square", ("pgd", "apgd", "standard")


@dataclass(frozen=True, eq=False)
class AttackedRuns:
    """The tables of all attacks on the runs of a target, and what is needed to evaluate them.

    Attributes
    ----------
    kind
        Kind of the target.
    labels
        Name of a run → label.
    tables
        The tables, all of the same images.
    attacks
        The attacks that are evaluated.
    units
        Units of the images.
    """

    kind: Kind
    labels: Mapping[str, str]
    tables: Sequence[AttackTable]
    attacks: Sequence[EvaluatedAttack]
    units: AttackedUnits

    @property
    def ids(self) -> Ids:
        """Ids of the images."""
        return self.tables[0].ids

    def is_right_before(self, run: str) -> NDArray[np.bool_]:
        """Return whether a run predicts each unperturbed image correctly."""
        table = next(table for table in self.tables if run in table.rows)
        return ~table.is_wrong_before(run)

    @property
    def runs(self) -> list[str]:
        """Names of the runs that predicted the images."""
        return [run for run in self.labels if any(run in table.rows for table in self.tables)]

    @property
    def limits(self) -> list[tuple[Norm, float]]:
        """Norms and limits of the attacks that have a limit."""
        limits = {(attack.spec.norm, attack.spec.eps) for attack in self.attacks if attack.has_limit}
        return sorted(limits, key=lambda limit: (NORMS.index(limit[0]), limit[1]))

    def accuracies(self) -> list[RobustAccuracy]:
        """Return the accuracy of each run under each attack."""
        rows = []
        for attack in self.attacks:
            tables_by_run = {run: counted_tables(self.tables, attack, run) for run in self.runs}
            rows += self._compare(attack.spec.method, attack.spec.norm, attack.eps, math.inf, tables_by_run)
        return rows

    def worst_cases(self) -> list[RobustAccuracy]:
        """Return the accuracy of each run under all attacks within each limit, of the runs that were attacked there."""
        rows = []
        for norm, eps in self.limits:
            attacked_runs = [run for run in self.runs if tables_on(self.tables, run, norm, eps)]
            tables_by_run = {run: [table for table in self.tables if run in table.rows] for run in attacked_runs}
            rows += self._compare(WORST_CASE, norm, eps, eps, tables_by_run)
        return rows

    def has_gradient(self, run: str) -> bool:
        """Return whether attacks use the exact gradient of a run."""
        return next(table.has_gradient[run] for table in self.tables if run in table.rows)

    def _note_missing_attacks(self) -> list[str]:
        """Return a note for each limit within which other runs were attacked in more ways, or by more steps."""
        notes = []
        for norm, eps in self.limits:
            specs = {run: {table.attack.spec for table in tables_on(self.tables, run, norm, eps)} for run in self.runs}
            # Runs without gradient are searched instead, so that they are compared with each other.
            all_specs: dict[bool, set[AttackSpec]] = {True: set(), False: set()}
            for run in self.runs:
                all_specs[self.has_gradient(run)] |= specs[run]
            labels = [
                self.labels[run]
                for run in self.runs
                if not specs[run] or specs[run] != all_specs[self.has_gradient(run)]
            ]
            if labels:
                limit = f"{norm} {limit_text(norm, eps)}"
                notes.append(
                    f"not all attacks within {limit} were made on {', '.join(labels)}; name all runs in one "
                    "'featx attack' to compare them"
                )
        return notes

    def _note_missing_checks(self, checks: Sequence[CheckOutcomes]) -> list[str]:
        """Return a note if some of the runs were not checked, as after an interruption."""
        checked_runs = {outcomes.run for outcomes in checks}
        labels = [self.labels[run] for run in self.runs if run not in checked_runs]
        return [f"sanity checks of {', '.join(labels)} are missing; run 'featx attack' again"] if labels else []

    def find_robust(self, run: str, tables: Sequence[AttackTable], norm: Norm, limit: float) -> NDArray[np.bool_]:
        """Return whether a run predicts each image correctly before and after all attacks within a limit."""
        is_successful = [is_within(table.smallest_norms(run, norm), limit) for table in tables]
        return np.asarray(
            self.is_right_before(run) & ~np.logical_or.reduce([*is_successful, np.zeros(len(self.ids), bool)])
        )

    def smallest_norms(self, run: str, norm: Norm) -> Floats:
        """Return the norm of the smallest successful perturbation of each image, of all attacks.

        It is 0 where the unperturbed image is predicted wrongly, and infinite where all attacks fail.
        """
        tables = [table for table in self.tables if run in table.rows]
        return np.asarray(np.min([table.smallest_norms(run, norm) for table in tables], axis=0))

    def _compare(
        self,
        method: str,
        norm: Norm,
        eps: float | None,
        limit: float,
        tables_by_run: Mapping[str, Sequence[AttackTable]],
    ) -> list[RobustAccuracy]:
        """Return the accuracies of the runs with images that count, the most robust one first."""
        is_robust = {run: self.find_robust(run, tables, norm, limit) for run, tables in tables_by_run.items() if tables}
        ranked_runs = sorted(is_robust, key=lambda run: -is_robust[run].sum())
        p_values = self.units.compare([is_robust[run] for run in ranked_runs]) if ranked_runs else []
        return [
            self._accuracy(run, tables_by_run[run], is_robust[run], p, (method, norm, eps, limit))
            for run, p in zip(ranked_runs, p_values, strict=True)
        ]

    def _accuracy(
        self,
        run: str,
        tables: Sequence[AttackTable],
        is_robust: NDArray[np.bool_],
        p: tuple[float, float],
        attack: tuple[str, Norm, float | None, float],
    ) -> RobustAccuracy:
        method, norm, eps, limit = attack
        # Of attacks that are equally strong, that on the run itself is named.
        strongest_table = min(
            tables, key=lambda table: (int(self.find_robust(run, [table], norm, limit).sum()), table.source != run)
        )
        smallest = np.min([table.smallest_norms(run, norm) for table in tables], axis=0)
        successful_norms = smallest[self.is_right_before(run) & ~is_robust]
        low, high = self.units.share_interval(is_robust)
        p_value, p_holm = (None if math.isnan(value) else value for value in p)
        return RobustAccuracy(
            run,
            self.labels[run],
            method,
            norm,
            eps,
            float(is_robust.mean()),
            low,
            high,
            float(np.median(successful_norms)) if len(successful_norms) else None,
            p_value,
            p_holm,
            strongest_table.attack.spec.method,
            strongest_table.source,
            tuple(dict.fromkeys(table.source for table in tables)),
        )

    def changes(self) -> list[LargestChange]:
        """Return the largest changes of each run under each attack."""
        rows = []
        for attack in self.attacks:
            for run in self.runs:
                if tables := counted_tables(self.tables, attack, run):
                    changes = np.max([np.abs(table.changes(run)) for table in tables], axis=0)
                    mean = float(changes.mean()), *self.units.mean_interval(changes)
                    statistics = float(np.median(changes)), float(changes.max())
                    name = attack.spec.method, attack.spec.norm, attack.eps
                    rows.append(LargestChange(run, self.labels[run], *name, *mean, *statistics))
        return rows

    def transfer(self) -> list[TransferAccuracy]:
        """Return the accuracy of each run on the images of each gradient-based attack on each other run."""
        return [
            TransferAccuracy(
                table.attack.spec.method,
                table.attack.spec.norm,
                table.attack.eps,
                table.source,
                run,
                float((~(table.is_wrong(run) | table.is_wrong_before(run))).mean()),
            )
            for table in self.tables
            if table.attack.needs_gradient
            for run in table.rows
        ]

    def evaluate(
        self, target: str, content: StoredAttack, checks: Sequence[CheckOutcomes], notes: Sequence[str] = ()
    ) -> RobustnessEvaluation:
        """Return the robustness of all runs.

        Parameters
        ----------
        target
            Name of the target.
        content
            Description of one of the attacks.
        checks
            Outcomes of the sanity checks.
        notes
            Notes about results that are left out.
        """
        is_number = self.kind == "numbers"
        worst_cases = [] if is_number else self.worst_cases()
        accuracies = [] if is_number else self.accuracies()
        return RobustnessEvaluation(
            target=target,
            kind=self.kind,
            part=content.part,
            n_images=len(self.ids),
            n_rows=content.n_rows,
            height_px=content.height_px,
            width_px=content.width_px,
            n_units=self.units.n_units,
            by_group=self.units.groups is not None,
            runs=self._summaries(checks, worst_cases or accuracies),
            attacks=accuracies,
            worst_cases=worst_cases,
            changes=self.changes() if is_number else [],
            transfer=[] if is_number else self.transfer(),
            notes=[*notes, *self._note_missing_attacks(), *self._note_missing_checks(checks)],
        )

    def _summaries(
        self, checks: Sequence[CheckOutcomes], accuracies: Sequence[RobustAccuracy]
    ) -> list[AttackedRunSummary]:
        """Return the runs, that with the highest sum of accuracies first; a limit without attack on it counts as 0."""
        sums = {run: sum(row.accuracy for row in accuracies if row.run == run) for run in self.runs}
        return [self._summary(run, checks) for run in sorted(self.runs, key=lambda run: -sums[run])]

    def _summary(self, run: str, checks: Sequence[CheckOutcomes]) -> AttackedRunSummary:
        run_checks = [outcomes for outcomes in checks if outcomes.run == run]
        is_right = self.is_right_before(run)
        clean_accuracy = math.nan if self.kind == "numbers" else float(is_right.mean())
        low, high = (math.nan, math.nan) if self.kind == "numbers" else self.units.share_interval(is_right)
        return AttackedRunSummary(
            run,
            self.labels[run],
            clean_accuracy,
            low,
            high,
            self.has_gradient(run),
            sum(outcomes.n_checks for outcomes in run_checks),
            tuple(f"{_within(outcomes)}: {text}" for outcomes in run_checks for text in self._failures(outcomes)),
        )

    def _failures(self, outcomes: CheckOutcomes) -> list[str]:
        """Return the checks of a run that failed; that of the search also fails if the results contradict it."""
        failures = list(outcomes.failures)
        limit = outcomes.norm, outcomes.eps
        method_counts = [
            (table.attack.spec.method, int(self.find_robust(outcomes.run, [table], *limit).sum()))
            for table in self.tables
            if table.source == outcomes.run and (table.attack.spec.norm, table.attack.spec.eps) == limit
        ]
        search_counts = [n_left for method, n_left in method_counts if method == SEARCH]
        gradient_counts = [n_left for method, n_left in method_counts if method in STRONG_METHODS]
        is_known = any(text.startswith(SEARCH_IS_STRONGER) for text in failures)
        if (
            search_counts
            and gradient_counts
            and not is_known
            and min(search_counts) + MAX_CHANCE < min(gradient_counts)
        ):
            counts = (
                f"{len(self.ids) - min(search_counts)} and {len(self.ids) - min(gradient_counts)} of "
                f"{len(self.ids)} images"
            )
            failures.append(f"{SEARCH_IS_STRONGER} ({counts})")
        return failures


def _within(outcomes: CheckOutcomes) -> str:
    """Return the limit within which a run was checked, as text: each norm has its own checks."""
    return f"within {outcomes.norm} {limit_text(outcomes.norm, outcomes.eps)}"
