"""A store behaves like a dictionary in any order of operations, also where writers die."""

from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from featx.cache.clearing import gc
from featx.errors import IncompleteError
from featx.storage.compaction import compact
from tests.storage.stores import (
    DEVICE_ROWS,
    D,
    DyingSegmentStore,
    KilledWriterError,
    leave_incomplete_segment,
    open_toy_store,
)

Float32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
# A few digests, so that they repeat, with zeros and high bytes at both ends, where comparing text could go wrong.
ENDS = [(first, inner, last) for first in ("00", "ff", "80") for inner in ("00", "41") for last in ("00", "ff")]
Digests = st.sampled_from([first + inner + "7f" * 12 + inner + last for first, inner, last in ENDS])
Rows = st.dictionaries(Digests, st.tuples(*[Float32] * D), max_size=8)


class StoreMachine(RuleBasedStateMachine):
    """Two handles on one store, compared with a dictionary of the first row of each digest."""

    @initialize()
    def start(self) -> None:
        self.path = self.new_store()
        self.stores = [open_toy_store(self.path), open_toy_store(self.path)]
        self.model: dict[str, tuple[float, ...]] = {}

    def new_store(self) -> str:
        raise NotImplementedError

    @rule(rows=Rows, handle=st.integers(0, 1))
    def add(self, rows: dict[str, tuple[float, ...]], handle: int) -> None:
        self.stores[handle].refresh()
        x = np.array(list(rows.values()), dtype=np.float32).reshape(-1, D)
        self.stores[handle].add(list(rows), x, DEVICE_ROWS, {"device": "cpu"})
        self.model = rows | self.model

    @rule(handle=st.integers(0, 1), most_rows=st.integers(1, 30))
    def join(self, handle: int, most_rows: int) -> None:
        compact(self.stores[handle], max_segment_bytes=most_rows * D * 4)
        reopened = open_toy_store(self.path)
        assert sum(map(len, reopened.segments)) == len(reopened)

    @rule(handle=st.integers(0, 1))
    def reopen(self, handle: int) -> None:
        self.stores[handle] = open_toy_store(self.path)

    @rule(requested=st.lists(Digests, max_size=10), handle=st.integers(0, 1))
    def read(self, requested: list[str], handle: int) -> None:
        store = self.stores[handle]
        store.refresh()
        missing_digests = list(dict.fromkeys(digest for digest in requested if digest not in self.model))
        assert store.missing(requested) == missing_digests
        if missing_digests:
            with pytest.raises(
                IncompleteError, match=f"of {len(requested)} images .*first digest {missing_digests[0]}"
            ):
                store.read(requested)
        expected = [digest for digest in requested if digest in self.model]
        x = np.array([self.model[digest] for digest in expected], dtype=np.float32).reshape(-1, D)
        assert store.read(expected).tobytes() == x.tobytes()

    @invariant()
    def a_reader_sees_all_that_was_added(self) -> None:
        if hasattr(self, "path"):
            assert open_toy_store(self.path).digests == sorted(self.model)


class CrashingMachine(StoreMachine):
    """The same on a disk where other writers die."""

    @rule(rows=Rows.filter(len), n_files=st.integers(1, 7))
    def die_writing(self, rows: dict[str, tuple[float, ...]], n_files: int) -> None:
        leave_incomplete_segment(Path(self.path), list(rows), np.array(list(rows.values()), dtype=np.float32), n_files)

    @rule(n_removals=st.integers(0, 2), leaves_trash=st.booleans())
    def die_joining(self, n_removals: int, leaves_trash: bool) -> None:
        store = open_toy_store(self.path)
        store.segment_store = DyingSegmentStore(Path(self.path), n_removals, leaves_trash=leaves_trash)
        with suppress(KilledWriterError):
            compact(store)

    @precondition(lambda self: Path(self.path).parent.exists())
    @rule()
    def clear(self) -> None:
        folder = Path(self.path).parent
        gc(cache=folder)
        assert {path.name for path in folder.iterdir()} <= {"toy.zarr"}


def test_the_store_is_a_dictionary_that_keeps_the_first_row(place: str) -> None:
    class Machine(StoreMachine):
        def new_store(self) -> str:
            return f"{place}/{uuid4().hex}.zarr"

    run_state_machine_as_test(Machine, settings=settings(max_examples=8, stateful_step_count=12))


def test_a_store_on_a_disk_survives_the_death_of_its_writers(home: Path) -> None:
    class Machine(CrashingMachine):
        def new_store(self) -> str:
            return str(home / uuid4().hex / "toy.zarr")

    run_state_machine_as_test(Machine, settings=settings(max_examples=20, stateful_step_count=20))
