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
