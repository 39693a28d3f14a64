"""One photo through ``featx predict`` against loading its network by hand and one forward pass, interleaved.

``python -m tests.benchmarks.predict``: a VGG16 run of ``featx finetune`` (random weights: they take as long as others),
asked for one photo in a new process each time, since that is what a user of the command waits for. Imports are made
before the clock starts on both sides, and the worker that decodes is started as part of ``predict``.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from featx import extract, finetune
from tests.conftest import make_images

N_ROUNDS = 3
RECIPE = """
[data]
source = "images"
[targets.class]
column = "class"
[split]
test = 0.25
val = 0.25
[[finetune]]
backbone = "vgg16"
weights = "none"
strategy = "head"
epochs = 1
batch_size = 4
"""
OURS = """
import sys, time
import torch, featx, featx.finetuning.checkpoints, featx.embeddings.files, featx.embeddings.runtimes, torchvision
torch.set_num_threads(int(sys.argv[1]))
start = time.perf_counter()
answers = featx.predict(["images/dark/000.png"])
print(time.perf_counter() - start)
"""
BY_HAND = """
import sys, time
import numpy as np, torch
from PIL import Image
from torchvision import models, transforms
torch.set_num_threads(int(sys.argv[1]))
prepare = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()])
start = time.perf_counter()
network = models.vgg16(weights=None)
network.load_state_dict(torch.load(sys.argv[2], weights_only=True))
network.eval()
with torch.inference_mode():
    network(prepare(Image.open("images/dark/000.png").convert("RGB"))[None]).softmax(1)
print(time.perf_counter() - start)
"""


def seconds(script: str, *arguments: str) -> float:
    """Return what a script in a process of its own measures."""
    done = subprocess.run([sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Make the run, and measure."""
    from torchvision import models

    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTHONPATH"] = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])  # noqa: PTH109
        os.chdir(folder)
        make_images(Path("images"), n_each=8, size=(320, 240))
        Path("featx.toml").write_text(RECIPE)
        extract()
        finetune()
        torch.save(models.vgg16(weights=None).state_dict(), "vgg16.pth")
        threads = str(torch.get_num_threads())
        rounds = [(seconds(OURS, threads), seconds(BY_HAND, threads, "vgg16.pth")) for _ in range(N_ROUNDS)]
    ours, by_hand = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(mine / theirs for mine, theirs in rounds)
    print(f"predict {ours:.2f} s, by hand {by_hand:.2f} s, median of {N_ROUNDS} ratios {ratio:.2f} (at most 1.3)")


if __name__ == "__main__":
    main()
