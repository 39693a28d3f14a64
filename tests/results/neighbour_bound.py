"""What accuracy is possible where labels differ between nearest neighbours, by the bound of Cover and Hart.

References
----------
.. [1] T. Cover, P. Hart, Nearest neighbor pattern classification, IEEE Transactions on Information Theory, 1967.
"""

import math
from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import NearestNeighbors

from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.errors import FeatxError
from featx.heads.scaling import make_scaler
from featx.specs.recipe import load_recipe
from featx.study.study import Study
from tests.results.protocols import ROOT, Protocol


@dataclass(frozen=True)
class NeighbourBound:
    """How often the nearest neighbour of an image has another class.

    Attributes
    ----------
    n_images, n_classes
        Number of images and of their classes.
    disagreement
        Share of the images whose nearest neighbour among the others has another class.
    """

    n_images: int
    n_classes: int
    disagreement: float

    @property
    def max_accuracy(self) -> float:
        """Largest accuracy on the same features that is compatible with the disagreement, for many images [1]_."""
        largest_error = (self.n_classes - 1) / self.n_classes
        return 1 - largest_error * (1 - math.sqrt(max(0.0, 1 - self.disagreement / largest_error)))


def read_bound(protocol: Protocol) -> NeighbourBound | None:
    """Return the disagreement of all images of a protocol, on its embeddings in rows of unit length.

    None if the embeddings are not on this machine.
    """
    recipe = load_recipe(str(ROOT / protocol.recipe))
    study = Study.open(next(iter(recipe.outer_recipes), recipe))
    (target,) = recipe.targets.values()
    try:
        ids = np.concatenate([study.ids(part) for part in ("train", "val", "test")])
        x = read_embeddings(study, ids, locked_embeddings(study)).x
    except FeatxError:
        return None
    scaled_x = make_scaler({"scaling": "standard_l2"}, x.shape).fit_transform(x)
    neighbours = NearestNeighbors(n_neighbors=1).fit(scaled_x).kneighbors(return_distance=False)[:, 0]
    classes = study.group_names([target.column], ids)
    return NeighbourBound(len(ids), len(set(classes)), float(np.mean(classes != classes[neighbours])))
