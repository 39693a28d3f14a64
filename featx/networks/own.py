"""Small networks that are trained from nothing."""

from collections import OrderedDict

from torch import nn

from featx.networks.backbones import Backbone
from featx.networks.pretrained_weights import WeightsFile, hub_folder
from featx.specs.embedding import Preprocessing


def small_cnn() -> Backbone:
    """Describe three 3×3 convolutions of 16, 32 and 16 channels, each with ReLU and max-pooling, on 48 px.

    With ``pool = "flatten"``, one hidden layer of 256 and one output it has 75,761 parameters.
    """

    def build() -> nn.Module:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (given, made) in enumerate(((3, 16), (16, 32), (32, 16)), start=1):
            layers[f"conv{number}"] = nn.Conv2d(given, made, 3)
            layers[f"relu{number}"] = nn.ReLU()
            layers[f"pool{number}"] = nn.MaxPool2d(2)
        return nn.Sequential(layers)

    plain = Preprocessing(size_px=48, interpolation="bilinear", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    none = WeightsFile(
        hub_folder() / "small_cnn.pth", "", None, "there are none to fetch: say weights = 'none' or weights = 'FILE'"
    )
    return Backbone("small_cnn", build, none, plain, last="pool3")
