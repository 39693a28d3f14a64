"""Small networks for training from random weights."""

from collections import OrderedDict

from torch import nn

from featx.networks.backbones import Backbone
from featx.networks.pretrained_weights import WeightsFile, hub_folder
from featx.specs.embedding import Preprocessing


def small_cnn() -> Backbone:
    """Return a network of three 3×3 convolutions of 16, 32 and 16 channels, each with ReLU and max-pooling, on 48 px.

    With ``pool = "flatten"``, one hidden layer of 256 and one output it has 75,761 parameters.
    """

    def build() -> nn.Module:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (n_in, n_out) in enumerate(((3, 16), (16, 32), (32, 16)), start=1):
            layers[f"conv{number}"] = nn.Conv2d(n_in, n_out, 3)
            layers[f"relu{number}"] = nn.ReLU()
            layers[f"pool{number}"] = nn.MaxPool2d(2)
        return nn.Sequential(layers)

    preprocessing = Preprocessing(size_px=48, interpolation="bilinear", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    next_step = "no weights are published: set weights = 'none' or weights = 'FILE'"
    weights = WeightsFile(hub_folder() / "small_cnn.pth", "", None, next_step)
    return Backbone("small_cnn", build, weights, preprocessing, last="pool3")
