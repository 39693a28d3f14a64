"""The attacks that sections of a recipe ask for, each once and without settings that its method does not use."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from featx.errors import UnsuitedError
from featx.registry import ATTACKS
from featx.robustness.attack_tables import EvaluatedAttack
from featx.robustness.attacks.attack_method import AttackMethod
from featx.specs.attacking import DEFAULT_QUERIES, AttackSection, AttackSpec, Norm
from featx.tables.ids import Kind


def group_sections(sections: Sequence[AttackSection]) -> list[list[AttackSection]]:
    """Return the sections in groups of those that attack the same images and runs."""
    sorted_sections = sorted(sections, key=lambda section: [section.job for section in sections].index(section.job))
    return [list(group) for _, group in groupby(sorted_sections, key=lambda section: section.job)]


def plan_attacks(sections: Sequence[AttackSection], kind: Kind) -> list[AttackSpec]:
    """Return the attacks of some sections on a target, each once.

    Raises
    ------
    UnsuitedError
        a method cannot change predictions of this kind.
    """
    return list(dict.fromkeys(spec for section in sections for spec in _expand(section, kind)))


def _expand(section: AttackSection, kind: Kind) -> Iterator[AttackSpec]:
    for name in section.methods:
        method = method_of(name)
        if kind == "numbers" and not method.has_numbers:
            raise UnsuitedError(
                f"attack {name!r} searches the smallest perturbation that changes a prediction, which is not defined "
                "for numbers; attack them by 'fgsm', 'pgd', 'apgd', 'square', 'standard' or 'patch'"
            )
        for norm in _norms(method, section.norms):
            for eps in section.eps:
                spec = AttackSpec(method=name, norm=norm, eps=eps, seed=section.seed)
                spec = spec.model_copy(update={field: getattr(section, field) for field in method.effort})
                yield spec if method.has_limit else _without_limit(spec)


def _without_limit(spec: AttackSpec) -> AttackSpec:
    """Return an attack whose limit, which it does not use, has the default value."""
    return spec.model_copy(update={"eps": AttackSpec.model_fields["eps"].default})


def _norms(method: AttackMethod, section_norms: Sequence[Norm]) -> Sequence[Norm]:
    """Return the norms of a section that a method can limit; its first one if there are none, or if it has no limit."""
    usable_norms = [norm for norm in section_norms if norm in method.norms] if method.has_limit else []
    return usable_norms or method.norms[:1]


def method_of(name: str) -> AttackMethod:
    """Return a method of attack by its name."""
    method: AttackMethod = ATTACKS.get(name)
    return method


def made_spec(spec: AttackSpec) -> AttackSpec:
    """Return the attack that makes the images: itself, or for ``transfer`` the one whose images are tried."""
    made_by = method_of(spec.method).made_by
    return spec.model_copy(update={"method": made_by}) if made_by else spec


def search_spec(spec: AttackSpec, specs: Sequence[AttackSpec], n_queries: int) -> AttackSpec:
    """Return the Square attack within the limit of an attack, for runs without gradient.

    It is the one among `specs` that has this limit; without one, the number of queries is `n_queries`.
    """
    limit = spec.norm, spec.eps, spec.seed
    stated_specs = (item for item in specs if item.method == "square" and (item.norm, item.eps, item.seed) == limit)
    default = AttackSpec(method="square", norm=spec.norm, eps=spec.eps, queries=n_queries, seed=spec.seed)
    return next(stated_specs, default)


def count_queries(sections: Sequence[AttackSection]) -> int:
    """Return the number of queries of the Square attack on runs without gradient: that of sections with a limit."""
    limited_sections = [section for section in sections if any(method_of(name).has_limit for name in section.methods)]
    return max((section.queries for section in limited_sections), default=DEFAULT_QUERIES)


def evaluated(spec: AttackSpec) -> EvaluatedAttack:
    """Return an attack with the properties that decide which images count."""
    method = method_of(spec.method)
    return EvaluatedAttack(spec, method.has_limit, method.needs_gradient, method.made_by)
