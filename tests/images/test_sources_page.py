"""The tables of layouts in docs/sources.md: each row is run by a test, and names registered readers."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featx.registry import READERS
from tests.images import (
    test_array_containers,
    test_categories,
    test_dicom,
    test_id_lists,
    test_public_layouts,
    test_public_layouts_containers,
    test_readers,
    test_single_images,
    test_table,
)

PAGE = Path(__file__).parents[2] / "docs" / "sources.md"
contract = test_readers.test_the_expected_reader_recognises_a_layout_and_is_deterministic
public, containers = test_public_layouts, test_public_layouts_containers
# Beginning of a row -> the test that writes such files, recognises and reads them.
TESTS: dict[str, Callable[..., Any]] = {
    "class folders": contract,
    "part folders": public.test_fer2013_folders_are_classes_and_parts,
    "folders in class folders": public.test_folders_in_class_folders_stay_together,
    "a table beside": test_table.test_a_text_table_is_recognised,
    "a table elsewhere": contract,
    "one table for each part": public.test_tables_in_part_folders_are_read_together,
    "Kaggle: `train.csv`": public.test_a_kaggle_competition_is_read_from_its_train_table,
    "several labels in one cell": public.test_nih_chest_x_rays_have_several_labels_and_patients,
    "one column of 0 and 1": public.test_isic_one_hot_columns_are_one_target,
    "CelebA": public.test_celeba_is_read_with_its_partition,
    "CUB-200": test_id_lists.test_lists_are_joined_by_their_ids,
    "labels in names": public.test_utkface_is_read_by_a_pattern_of_its_names,
    "label files beside": contract,
    "images without labels": public.test_images_without_labels_are_recognised,
    "HDF5, MATLAB, npz": contract,
    "PCam": containers.test_pcam,
    "MedMNIST": containers.test_medmnist,
    "SVHN": containers.test_svhn,
    "HDF5 with a label table": test_array_containers.test_the_fields_of_a_label_table_become_columns,
    "HDF5 whose rows": test_array_containers.test_rows_of_encoded_images_are_decoded,
    "HDF5 compressed": test_array_containers.test_datasets_with_a_plugin_filter_are_read,
    "HDF5 with one dataset per image": test_single_images.test_label_datasets_beside_the_images_are_joined,
    "npy files in class folders": test_single_images.test_npy_files_in_class_folders_are_images,
    "the binary version of CIFAR-10": containers.test_cifar_10_pickles_are_refused_and_the_binary_version_is_read,
    "FER2013": containers.test_fer2013,
    "Kaggle's MNIST": containers.test_kaggle_mnist,
    "Hugging Face's Parquet": containers.test_hugging_face_parquet,
    "COCO": containers.test_coco,
    "Roboflow": containers.test_roboflow,
    "LabelMe": test_categories.test_labelme_files_with_several_labels_have_columns,
    "Pascal VOC": test_categories.test_voc_parts_come_from_its_lists_and_parts_of_objects_are_no_names,
    "YOLO": test_categories.test_yolo_images_with_several_classes_polygons_and_none,
    "DICOM": test_dicom.test_a_window_and_a_rescaling_are_applied,
}
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("| \n"))]
    for line in PAGE.read_text().splitlines()
    if line.startswith("|") and "`featx init" in line
]


def test_there_is_one_test_for_each_row() -> None:
    layouts = [row[0] for row in ROWS]
    assert [[key for key in TESTS if layout.startswith(key)] for layout in layouts] == [[key] for key in TESTS]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:30])
def test_a_row_names_registered_readers(row: list[str]) -> None:
    readers = re.findall(r"`(\w+)`", row[2])
    assert readers or row[2] == "any"
    assert set(readers) <= set(READERS.names())
