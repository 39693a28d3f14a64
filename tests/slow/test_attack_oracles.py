"""Attacks against those of other libraries (ART, SecML-Torch, torchattack): equal robust accuracy, never weaker.

The same network, images and settings are given to both. Traps of the other libraries:

- ART's AutoPGD with cross-entropy had the arguments of the loss swapped until 1.20, so an older version is refused. It
  needs a model that returns logits; given probabilities, its loss saturates.
- The cross-entropy of logits has no gradient where a probability is 1 in single precision, so that others leave such
  images as they are; featx uses the log-odds.
- ART's PGD returns the last image of the start with the highest rate of success, not the best of all steps, so that
  random starts can make single images worse. It is run with one start, from the image.
- ART's C&W has an adaptive learning rate that is halved and doubled; `initial_const` starts the bisection as here.
- ART's Boundary and HopSkipJump may return a worse image than one that they had, and are not used.
- The default step of PGD in foolbox, which SecML-Torch wraps, is too short for few steps and overstates robustness, so
  the native backend is used with the step of featx.
- adv-lib imports visdom, a server for plots, and torchattacks pins old versions of requests: neither is used.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from featx.registry import ATTACKS
from featx.robustness.attacks.attack_method import AttackMethod
from featx.robustness.attacks.attacked_images import AttackedImages, Norm, is_wrong, l2_norms, linf_norms
from featx.robustness.attacks.gradient_steps import PATH_LENGTH
from featx.specs.attacking import AttackSpec

art = pytest.importorskip("art", "1.20", reason="needs the extra 'robust': pip install 'featx[robust]'")
# The other libraries use names that their own dependencies deprecate.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

N_TRAINED, N_ATTACKED, N_EPOCHS = 1200, 200, 30
STEPS = 40
# The search of the smallest perturbation takes ART minutes.
N_SMALLEST, STEPS_OF_CW, BISECTIONS = 60, 100, 6
LIMITS: dict[Norm, tuple[float, ...]] = {"linf": (0.05, 0.1, 0.15), "l2": (0.4, 0.8, 1.2)}
# Largest difference of robust accuracies that is no disagreement.
MAX_DIFFERENCE = 0.03 + 1e-9
Attack = Callable[[np.ndarray, np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Return a small network for handwritten digits, in three equal channels, with more than 95 % accuracy."""
    return train_network(width=16, seed=0)


@pytest.fixture(scope="module")
def other_network() -> nn.Module:
    """Return a network of another width, from another seed, on which the images made on the first one are tried."""
    return train_network(width=24, seed=1)


def train_network(width: int, seed: int) -> nn.Module:
    """Return a network for the digits, trained on the first of them."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 32, 3, stride=2, padding=1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 16, 10))
    pixels, codes = digits()
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(N_EPOCHS):
        for rows in torch.randperm(N_TRAINED).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(pixels[rows]), codes[rows]).backward()
            optimiser.step()
    return model.eval().requires_grad_(False)


def digits() -> tuple[Tensor, Tensor]:
    """Return all digits as (n, 3, 8, 8) pixels in [0, 1], and their classes."""
    data = load_digits()
    pixels = torch.as_tensor(data.images / 16, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1).contiguous()
    return pixels, torch.as_tensor(data.target)


def attacked_digits() -> tuple[Tensor, Tensor]:
    """Return the digits that are attacked, on which the network was not trained."""
    pixels, codes = digits()
    return pixels[N_TRAINED : N_TRAINED + N_ATTACKED], codes[N_TRAINED : N_TRAINED + N_ATTACKED]


def own_accuracy(network: nn.Module, spec: AttackSpec) -> float:
    """Return the accuracy that an attack of featx leaves."""
    return accuracy(network, own_images(network, spec), spec.norm, spec.eps)


def own_images(network: nn.Module, spec: AttackSpec) -> Tensor:
    """Return the images that an attack of featx makes."""
    pixels, codes = attacked_digits()
    images = AttackedImages(network, pixels, codes, spec.norm, spec.eps, torch.Generator().manual_seed(0))
    method: AttackMethod = ATTACKS.get(spec.method)
    return method.perturb(images, spec).detach()


def accuracy(network: nn.Module, perturbed_pixels: Tensor, norm: Norm, eps: float) -> float:
    """Return the share of the first images that are predicted correctly before and after perturbations in a limit."""
    pixels, codes = (values[: len(perturbed_pixels)] for values in attacked_digits())
    norms = {"linf": linf_norms, "l2": l2_norms}[norm](perturbed_pixels - pixels)
    with torch.no_grad():
        is_successful = is_wrong(network(perturbed_pixels), codes) & (norms <= eps * (1 + 1e-4) + 1e-6)
        return float((~is_successful & ~is_wrong(network(pixels), codes)).double().mean())


def classifier(network: nn.Module) -> object:
    """Return the network for ART; it returns logits, and ART gets the loss for logits."""
    from art.estimators.classification import PyTorchClassifier

    optimiser = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    loss = nn.CrossEntropyLoss()
    return PyTorchClassifier(network, loss, (3, 8, 8), 10, optimiser, clip_values=(0, 1), device_type="cpu")


def art_accuracy(network: nn.Module, make: Callable[[object], object], norm: Norm, eps: float) -> float:
    """Return the accuracy that an attack of ART leaves."""
    pixels, codes = attacked_digits()
    perturbed_pixels = make(classifier(network)).generate(pixels.numpy(), codes.numpy())  # type: ignore[attr-defined]
    return accuracy(network, torch.as_tensor(perturbed_pixels), norm, eps)


def art_attack(name: str, norm: Norm, eps: float) -> Callable[[object], object]:
    """Return the attack of ART with the settings of featx."""
    from art.attacks import evasion

    order: float = np.inf if norm == "linf" else 2
    step = PATH_LENGTH * eps / STEPS
    makers: dict[str, Callable[[object], object]] = {
        "fgsm": lambda model: evasion.FastGradientMethod(model, order, eps),
        "pgd": lambda model: evasion.ProjectedGradientDescent(model, order, eps, step, max_iter=STEPS, verbose=False),
        "apgd": lambda model: evasion.AutoProjectedGradientDescent(
            model, order, eps, 2 * eps, max_iter=STEPS, nb_random_init=1, loss_type="cross_entropy", verbose=False
        ),
    }
    return makers[name]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd"])
def test_attacks_agree_with_those_of_art(network: nn.Module, name: str, norm: Norm) -> None:
    own_accuracies, art_accuracies = [], []
    for eps in LIMITS[norm]:
        own_accuracies.append(own_accuracy(network, AttackSpec(method=name, norm=norm, eps=eps, steps=STEPS)))
        art_accuracies.append(art_accuracy(network, art_attack(name, norm, eps), norm, eps))
    print(f"{name} {norm}: own {own_accuracies}, ART {art_accuracies}")
    # The limits are chosen so that some attacks succeed and some fail.
    assert 0.05 < art_accuracies[1] < 0.9
    differences = np.array(own_accuracies) - np.array(art_accuracies)
    # Never weaker, but for one image in 200 that another path reaches.
    assert (differences <= 1 / N_ATTACKED + 1e-9).all()
    # APGD also aims at each other class, which ART's, with this loss, does not.
    assert name == "apgd" or (np.abs(differences) <= MAX_DIFFERENCE).all()


def test_the_smallest_perturbations_agree_with_those_of_art(network: nn.Module) -> None:
    from art.attacks.evasion import CarliniL2Method

    pixels, codes = (values[:N_SMALLEST] for values in attacked_digits())
    spec = AttackSpec(method="cw", norm="l2", steps=STEPS_OF_CW, restarts=BISECTIONS)
    images = AttackedImages(network, pixels, codes, "l2", 0.0, torch.Generator().manual_seed(0))
    own_perturbed = ATTACKS.get("cw").perturb(images, spec).detach()
    attack = CarliniL2Method(
        classifier(network), binary_search_steps=BISECTIONS, max_iter=STEPS_OF_CW, batch_size=N_SMALLEST, verbose=False
    )
    art_perturbed = torch.as_tensor(attack.generate(pixels.numpy(), nn.functional.one_hot(codes, 10).float().numpy()))
    for eps in LIMITS["l2"]:
        own_share, other_share = (
            accuracy(network, perturbed_pixels, "l2", eps) for perturbed_pixels in (own_perturbed, art_perturbed)
        )
        print(f"cw within l2 {eps}: own {own_share}, ART {other_share}")
        assert own_share <= other_share + MAX_DIFFERENCE / 2
    # An image may need more steps than this budget has.
    assert float(is_wrong(network(own_perturbed), codes).double().mean()) > 0.95
    # ART returns the original where it fails.
    norms = [
        torch.where(is_wrong(network(perturbed_pixels), codes), l2_norms(perturbed_pixels - pixels), torch.inf)
        for perturbed_pixels in (own_perturbed, art_perturbed)
    ]
    medians = [float(values[~is_wrong(network(pixels), codes)].median()) for values in norms]
    print(f"cw median l2: own {medians[0]:.4f}, ART {medians[1]:.4f}")
    assert medians[0] <= 1.03 * medians[1]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_agrees_with_that_of_secml(network: nn.Module, norm: Norm) -> None:
    pytest.importorskip("secmlt", reason="needs the extra 'robust': pip install 'featx[robust]'")
    from secmlt.adv.evasion.pgd import PGDNative
    from secmlt.models.pytorch.base_pytorch_nn import BasePyTorchClassifier
    from torch.utils.data import DataLoader, TensorDataset

    for eps in LIMITS[norm]:
        attack = PGDNative(norm, eps, STEPS, PATH_LENGTH * eps / STEPS, random_start=False)
        loader = attack(BasePyTorchClassifier(network), DataLoader(TensorDataset(*attacked_digits()), N_ATTACKED))
        perturbed_pixels = torch.cat([batch[0] for batch in loader]).detach()
        own_score = own_accuracy(network, AttackSpec(method="pgd", norm=norm, eps=eps, steps=STEPS))
        secml_score = accuracy(network, perturbed_pixels, norm, eps)
        print(f"pgd {norm} {eps}: own {own_score}, SecML-Torch {secml_score}")
        assert own_score <= secml_score + 1 / N_ATTACKED + 1e-9
        assert abs(own_score - secml_score) <= MAX_DIFFERENCE


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_transferred_images_agree_with_those_of_torchattack(
    network: nn.Module, other_network: nn.Module, norm: Norm
) -> None:
    torchattack = pytest.importorskip("torchattack", reason="needs the extra 'robust': pip install 'featx[robust]'")
    make = {"linf": torchattack.PGD, "l2": torchattack.PGDL2}[norm]
    for eps in LIMITS[norm]:
        step = PATH_LENGTH * eps / STEPS
        attack = make(network, device=torch.device("cpu"), eps=eps, steps=STEPS, alpha=step, random_start=False)
        perturbed_pixels = attack(*attacked_digits()).detach()
        own_perturbed = own_images(network, AttackSpec(method="transfer", norm=norm, eps=eps, steps=STEPS))
        for name, target in (("source", network), ("other", other_network)):
            own_share, other_share = (
                accuracy(target, images, norm, eps) for images in (own_perturbed, perturbed_pixels)
            )
            print(f"transfer {norm} {eps}, {name} network: own {own_share}, torchattack {other_share}")
            assert own_share <= other_share + 1 / N_ATTACKED + 1e-9
            assert abs(own_share - other_share) <= MAX_DIFFERENCE
