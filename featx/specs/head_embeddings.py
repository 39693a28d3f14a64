"""Names of embeddings in heads: their check against the embeddings of a recipe, and their change with these."""

from collections.abc import Callable, Iterator, Sequence

from featx.registry import suggest_names
from featx.specs.embedding import EmbeddingRequest
from featx.specs.head import HeadSpec

# Values of `HeadSpec.embeddings` that are not the name of an embedding.
EMBEDDINGS_KEYWORDS = ("all", "search")


def find_unknown_embeddings(heads: Sequence[HeadSpec], requests: Sequence[EmbeddingRequest]) -> Iterator[str]:
    """Yield one message for each name in heads that no embedding has, with the path of its key."""
    for number, head in enumerate(heads):
        for name in (str(run.embeddings) for run in head.grid()):
            if name not in EMBEDDINGS_KEYWORDS and not any(request.is_called(name) for request in requests):
                yield (
                    f"head[{number}].embeddings: no embedding is called {name!r}; "
                    f"{suggest_names(name, [*EMBEDDINGS_KEYWORDS, *_short_names(requests)])}"
                )


def name_limited_embeddings(
    heads: Sequence[HeadSpec], requests: Sequence[EmbeddingRequest], limited_requests: Sequence[EmbeddingRequest]
) -> tuple[HeadSpec, ...]:
    """Return heads that name the embeddings of a preset where they named those of the whole recipe.

    Parameters
    ----------
    heads
        Heads of the recipe.
    requests
        Embeddings of the whole recipe.
    limited_requests
        The same embeddings within the limits of the preset, in the same order.

    Raises
    ------
    ValueError
        A name would denote other embeddings too within the limits; the message has the path of the key in the preset.
    """
    pairs = list(zip(requests, limited_requests, strict=True))

    def rename(name: str) -> str:
        named_pairs = [(request, limited) for request, limited in pairs if request.is_called(name)]
        if not named_pairs:
            return name
        request, limited = named_pairs[0]
        new_name = limited.names[request.names.index(name)]
        expected_embeddings = {limited for _, limited in named_pairs}
        # Backbones that a preset makes equal have the same short names; their full names can still differ.
        for possible_name in (new_name, limited.name):
            if {item for item in limited_requests if item.is_called(possible_name)} == expected_embeddings:
                return possible_name
        raise ValueError(
            f"backbones: {name!r} of a head becomes {new_name!r}, which is also the name of other embeddings then; "
            "write full names of embeddings in that head, or replace fewer backbones"
        )

    return rename_embeddings(heads, rename)


def rename_embeddings(heads: Sequence[HeadSpec], rename: Callable[[str], str]) -> tuple[HeadSpec, ...]:
    """Return heads with other names of embeddings, which a function returns."""
    return tuple(
        head.model_copy(
            update={
                "embeddings": rename(head.embeddings)
                if isinstance(head.embeddings, str)
                else tuple(dict.fromkeys(map(rename, head.embeddings)))
            }
        )
        for head in heads
    )


def _short_names(requests: Sequence[EmbeddingRequest]) -> list[str]:
    """Return ``backbone/tap`` of each embedding, or its full name where several have the same backbone and tap."""
    short_names = [f"{request.backbone}/{request.tap}" for request in requests]
    return [
        request.name if short_names.count(name) > 1 else name
        for name, request in zip(short_names, requests, strict=True)
    ]
