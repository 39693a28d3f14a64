"""All analyses of an exploration, in the order in which they run."""

from featx.exploration.analysis import Analysis
from featx.exploration.class_counts import count_images, sample_images
from featx.exploration.image_copies import find_image_copies
from featx.exploration.image_statistics import summarise_properties
from featx.exploration.label_analyses import analyse_label_issues, analyse_separability
from featx.exploration.map_analysis import analyse_map
from featx.exploration.network_inputs import make_network_inputs
from featx.exploration.outlier_analysis import analyse_outliers
from featx.exploration.quality_checks import check_quality
from featx.exploration.recognised_files import analyse_recognition
from featx.exploration.segment_analysis import analyse_segments
from featx.exploration.shortcuts import find_shortcuts

# Name of an analysis → the function. The section of the page with the same name is in
# `featx.reports.exploration.page_sections.SECTIONS`.
ANALYSES: dict[str, Analysis] = {
    "recognition": analyse_recognition,
    "counts": count_images,
    "samples": sample_images,
    "statistics": summarise_properties,
    "network_inputs": make_network_inputs,
    "quality": check_quality,
    "copies": find_image_copies,
    "shortcuts": find_shortcuts,
    "label_issues": analyse_label_issues,
    "outliers": analyse_outliers,
    "separability": analyse_separability,
    "segments": analyse_segments,
    "map": analyse_map,
}
