"""Settings of decoding that an even sample of a source's images needs: one range of values, and chosen channels."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.errors import ReadError
from featx.images.contents import Content
from featx.images.decode import MAX_PIXELS, read_numbers, to_channels_last
from featx.images.pillow_files import silence_decoders
from featx.images.sources import read_content
from featx.images.value_ranges import format_value
from featx.tables.ids import sample_rows

# Number of images that are read; only those of more than 8 bits are decoded.
MAX_INSPECTED_IMAGES = 200
# Largest values of numbers that cameras and scanners write: 8, 10, 12, 14, 15 and 16 bits.
USUAL_WHITES = (255, 1023, 4095, 16383, 32767, 65535)
UINT16_WHITE = 65535
# Floats get a usual range only if they fill at least this share of it.
MIN_FILLED_SHARE = 0.25
# Digits of a range that was seen.
N_RANGE_DIGITS = 4
# Numbers of bands of the products of Sentinel-2, and the positions of red, green and blue among them.
SENTINEL_2_BANDS, SENTINEL_2_COLOURS = {12, 13}, [3, 2, 1]
GREY, COLOURS = [0], [0, 1, 2]


@dataclass(frozen=True)
class DecodingProposal:
    """Settings of ``[decoding]`` that a source needs.

    Attributes
    ----------
    settings
        Proposed ``value_range`` and ``bands``; empty if the defaults decode all inspected images.
    reasons
        Reason by name of the setting.
    depths
        Number of inspected images by depth of their pixels, such as "8 bits".
    warnings
        Differences between the images that one setting does not solve.
    """

    settings: dict[str, list[Any]]
    reasons: dict[str, str]
    depths: dict[str, int]
    warnings: list[str]


@dataclass(frozen=True)
class _PixelKind:
    """The kind of the pixels of one image.

    Attributes
    ----------
    dtype
        Dtype of the values.
    n_channels
        Number of channels.
    is_unnamed
        Whether neither the file nor the number of channels says what the channels are.
    low, high
        Smallest and largest value of the channels that would be decoded; 0 for pixels of 8 bits.
    """

    dtype: np.dtype[Any]
    n_channels: int
    is_unnamed: bool
    low: float = 0.0
    high: float = 0.0

    @property
    def depth(self) -> str:
        """Depth of the pixels as text."""
        names = {"uint8": "8 bits", "uint16": "16 bits", "bool": "1 bit"}
        return names.get(self.dtype.name, self.dtype.name)

    @property
    def is_wide(self) -> bool:
        """Whether the pixels have more than 8 bits, or a sign."""
        return self.dtype.name not in {"uint8", "bool"}


def propose_decoding(uris: Sequence[str]) -> DecodingProposal:
    """Return the settings of decoding that fit an even sample of images; images that cannot be read are left out.

    Parameters
    ----------
    uris
        Uris of all images of a source.
    """
    rows = sample_rows(len(uris), MAX_INSPECTED_IMAGES)
    with silence_decoders():
        kinds = [kind for row in rows if (kind := _inspect_uri(uris[row]))]
    settings, reasons, warnings = {}, {}, []
    if any(kind.is_unnamed for kind in kinds):
        settings["bands"], reasons["bands"] = _propose_bands(kinds)
        n_lacking = sum(kind.n_channels <= max(settings["bands"]) for kind in kinds)
        if n_lacking:
            warnings.append(
                f"{n_lacking} of {len(kinds)} inspected images have fewer than {max(settings['bands']) + 1} channels; "
                "they are unreadable with the proposed bands"
            )
    wide_kinds = [kind for kind in kinds if kind.is_wide]
    if len({kind.dtype.kind == "f" for kind in wide_kinds}) > 1:
        warnings.append(
            "some images hold floats and others integers of more than 8 bits, which one value_range cannot scale; "
            "convert them to one type"
        )
    elif wide_kinds and (range_proposal := _propose_range(wide_kinds)):
        settings["value_range"], reasons["value_range"] = range_proposal
        warnings += _list_unit_warnings(wide_kinds)
    depths = Counter(kind.depth for kind in kinds)
    return DecodingProposal(settings, reasons, dict(depths.most_common()), warnings)


def _inspect_uri(uri: str) -> _PixelKind | None:
    try:
        return _inspect(read_content(uri))
    except (ReadError, FileNotFoundError, MemoryError):
        return None


def _inspect(content: Content) -> _PixelKind | None:
    """Return the kind of an image's pixels; None if they hold nan or infinity, or are too many.

    The extremes are those of the channels that would be chosen, and 0 for pixels of 8 bits.

    Raises
    ------
    ReadError
        the image cannot be read.
    """
    if isinstance(content, np.ndarray):
        values, is_unnamed = to_channels_last(content), True
    else:
        values, is_unnamed = read_numbers(content)
    n_channels = values.shape[2]
    is_unnamed &= n_channels not in {1, 3}
    kind = _PixelKind(values.dtype, n_channels, is_unnamed)
    if not kind.is_wide or values.dtype.kind not in "iuf":
        return kind
    band_values = values[..., : len(_choose_default_bands(n_channels))] if is_unnamed else values
    low, high = float(band_values.min()), float(band_values.max())
    if values.shape[0] * values.shape[1] > MAX_PIXELS or not math.isfinite(low) or not math.isfinite(high):
        return None
    return _PixelKind(values.dtype, n_channels, is_unnamed, low, high)


def _choose_default_bands(n_channels: int) -> list[int]:
    return GREY if n_channels == 2 else COLOURS


def _propose_bands(kinds: Sequence[_PixelKind]) -> tuple[list[int], str]:
    """Return the channels to decode, and the reason."""
    channel_counts = Counter(kind.n_channels for kind in kinds if kind.is_unnamed)
    bands = GREY if set(channel_counts) == {2} else COLOURS
    counts = ", ".join(f"{n} channels without names in {count}" for n, count in channel_counts.most_common())
    hint = (
        f"; if they are bands of Sentinel-2, set {SENTINEL_2_COLOURS}" if set(channel_counts) & SENTINEL_2_BANDS else ""
    )
    return bands, f"{counts} of {len(kinds)} inspected images{hint}"


def _propose_range(wide_kinds: Sequence[_PixelKind]) -> tuple[list[Any], str] | None:
    """Return the values of black and white for all images, and the reason; None if the dtype or [0, 1] states them."""
    low, high = min(kind.low for kind in wide_kinds), max(kind.high for kind in wide_kinds)
    names = ", ".join(sorted({kind.dtype.name for kind in wide_kinds}))
    range_text = f"values from {format_value(low)} to {format_value(high)} of {names} seen"
    if low < 0:
        is_unit = low >= -1 and high <= 1 and wide_kinds[0].dtype.kind == "f"
        return [-1, 1] if is_unit else _round_outwards(low, high), range_text
    if names == "uint16":
        if 2 * high > UINT16_WHITE:
            return None
        return [0, _find_usual_white(high) or 1], f"largest value seen {format_value(high)} of {UINT16_WHITE}"
    if wide_kinds[0].dtype.kind == "f":
        if high <= 1:
            return None
        white = _find_usual_white(high)
        is_usual = white is not None and high >= MIN_FILLED_SHARE * white
        return [0, white] if is_usual else _round_outwards(0.0, high), range_text
    white = _find_usual_white(high)
    return [0, white] if white is not None else _round_outwards(0.0, high), range_text


def _find_usual_white(high: float) -> int | None:
    """Return the smallest usual largest value with all values up to `high`; 1 for masks of 0 and 1."""
    if high <= 1:
        return 1
    return next((white for white in USUAL_WHITES if high <= white), None)


def _round_outwards(low: float, high: float) -> list[Any]:
    """Return a range with few digits that contains two values; equal values get a range above them.

    Examples
    --------
    >>> _round_outwards(-1024, 3071), _round_outwards(0.0, 3.14159265)
    ([-1024, 3071], [0, 3.142])
    """
    digits = N_RANGE_DIGITS - 1 - math.floor(math.log10(max(high - low, 1e-30)))
    if float(low).is_integer() and float(high).is_integer():
        digits = 0
    step = 10.0**digits
    low, high = round(math.floor(low * step) / step, digits), round(math.ceil(high * step) / step, digits)
    bounds = [low, high if high > low else low + 1]
    return [int(bound) if float(bound).is_integer() else bound for bound in bounds]


def _list_unit_warnings(wide_kinds: Sequence[_PixelKind]) -> list[str]:
    """Return a warning if some images of floats lie within [0, 1] and others do not: they may have other units."""
    n_unit = sum(kind.low >= 0 and kind.high <= 1 for kind in wide_kinds)
    if wide_kinds[0].dtype.kind != "f" or n_unit in {0, len(wide_kinds)}:
        return []
    return [
        f"{n_unit} of {len(wide_kinds)} inspected images of floats hold values within [0, 1], and the others do not; "
        "all are scaled by one value_range: check that they have the same unit"
    ]


def describe_settings(proposal: DecodingProposal) -> list[str]:
    """Return one line for each proposed setting: the reason and the setting."""
    return [f"{proposal.reasons[name]}: {name} = {value}" for name, value in proposal.settings.items()]
