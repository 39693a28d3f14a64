"""Logs of trainings for TensorBoard, one value of each measured part after each epoch."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from featx.study.run_metrics import EpochMetrics

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# Names of the parts in TensorBoard.
PART_NAMES = {"train": "train", "held": "held out", "val": "val"}


class TensorBoardLog:
    """Writes the epochs of a training; nothing if there is no folder.

    Parameters
    ----------
    folder
        Folder of the log; None for no log.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None
        self._n_written = 0

    def __enter__(self) -> Self:
        if self._folder is not None:
            # TensorBoard takes seconds to import.
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, epochs: Sequence[EpochMetrics]) -> None:
        """Write all epochs that are not written yet."""
        if self._writer is None:
            return
        for epoch in epochs[self._n_written :]:
            for part, name in PART_NAMES.items():
                measures = {"loss": getattr(epoch, f"{part}_loss"), **getattr(epoch, f"{part}_scores")}
                for measure, value in measures.items():
                    if value is not None:
                        self._writer.add_scalar(f"{measure}/{name}", value, epoch.number)
            self._writer.add_scalar("lr", epoch.lr, epoch.number)
        self._n_written = len(epochs)
        self._writer.flush()
