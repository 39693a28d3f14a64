"""Benchmark of ``featx predict`` for one image against loading the network by hand and one forward pass.

usage: python -m tests.benchmarks.predict

The run is a VGG16 of ``featx finetune`` with random weights, which take as long as pretrained ones. Each prediction
is made in a new process, like that of a command; both sides are measured in turn. Times exclude imports and include
the start of the decoding worker of ``predict``.
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
predictions = featx.predict(["images/dark/000.png"])
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


def run_script(script: str, *arguments: str) -> float:
    """Run a script in another process and return the seconds that it prints."""
    process = subprocess.run([sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True)
    return float(process.stdout.split()[-1])


def main() -> None:
    """Fine-tune the network and print the times and their ratio."""
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
        rounds = [(run_script(OURS, threads), run_script(BY_HAND, threads, "vgg16.pth")) for _ in range(N_ROUNDS)]
    predict_s, loaded_s = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(featx_s / by_hand_s for featx_s, by_hand_s in rounds)
    print(
        f"predict {predict_s:.2f} s, by hand {loaded_s:.2f} s, "
        f"median of {N_ROUNDS} ratios {ratio:.2f} (expected at most 1.3)"
    )


if __name__ == "__main__":
    main()
