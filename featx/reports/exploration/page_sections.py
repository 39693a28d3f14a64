"""Sections of the page of an exploration, one for each analysis, in the order of the page."""

from collections.abc import Callable

from featx.exploration.explore import Exploration
from featx.reports.exploration.count_sections import build_count_section, build_sample_section
from featx.reports.exploration.inputs_section import build_inputs_section
from featx.reports.exploration.label_issue_section import build_label_section
from featx.reports.exploration.map_section import build_map_section
from featx.reports.exploration.outlier_section import build_outlier_section
from featx.reports.exploration.quality_sections import build_copy_section, build_quality_section
from featx.reports.exploration.recognition_section import build_recognition_section
from featx.reports.exploration.segment_section import build_segment_section
from featx.reports.exploration.separability_section import build_separability_section
from featx.reports.exploration.shortcut_section import build_shortcut_section
from featx.reports.exploration.statistics_section import build_statistics_section
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.page.components import Section

# A section is built from the result of the analysis with its name, `exploration.results[name]`; the pictures of
# images come from `Thumbnails`.
SECTIONS: dict[str, Callable[[Exploration, Thumbnails], Section]] = {
    "recognition": build_recognition_section,
    "counts": build_count_section,
    "samples": build_sample_section,
    "statistics": build_statistics_section,
    "network_inputs": build_inputs_section,
    "quality": build_quality_section,
    "copies": build_copy_section,
    "shortcuts": build_shortcut_section,
    "label_issues": build_label_section,
    "outliers": build_outlier_section,
    "separability": build_separability_section,
    "segments": build_segment_section,
    "map": build_map_section,
}
