"""What a user would write to fine-tune the last block of a network on a GPU, instead of featx.

usage: peer_gpu_finetune.py TRAIN_DIR VAL_DIR EPOCHS SIZE_PX DEVICE   DIRs: one folder a class
EfficientNet-Lite0 (ImageNet) with a new head; every epoch sends every image through the whole network. Adam 1e-4 for the last two stages, the head
convolution and the new layers, batch 32. Prints the best validation accuracy, the seconds of the whole run (start-up left out) and the peak of GPU memory.
"""
import os, sys, time
import torch
from torch import nn
from torchvision import datasets, transforms as T
from peer_extract import lite0


def main(train_dir, val_dir, epochs, size_px, device):
    torch.manual_seed(0)
    tf = T.Compose([T.Resize((size_px, size_px)), T.ToTensor(), T.Normalize([0.5] * 3, [0.5] * 3)])
    train, val = datasets.ImageFolder(train_dir, tf), datasets.ImageFolder(val_dir, tf)
    net = lite0()
    for p in net.parameters():
        p.requires_grad = False
    for part in (net.blocks[5], net.blocks[6], net.conv_head, net.bn2):
        for p in part.parameters():
            p.requires_grad = True
    net = net.to(device)
    head = nn.Sequential(nn.Linear(1280, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, len(train.classes))).to(device)
    opt = torch.optim.Adam([p for p in [*net.parameters(), *head.parameters()] if p.requires_grad], lr=1e-4)
    loader = dict(batch_size=32, num_workers=os.cpu_count(), pin_memory=device == "cuda")
    best, start = 0.0, time.perf_counter()
    for _ in range(epochs):
        head.train()
        for x, y in torch.utils.data.DataLoader(train, shuffle=True, **loader):
            x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
            opt.zero_grad()
            nn.functional.cross_entropy(head(net(x)), y).backward()
            opt.step()
        head.eval()
        right = 0
        with torch.inference_mode():
            for x, y in torch.utils.data.DataLoader(val, **loader):
                right += (head(net(x.to(device))).argmax(1) == y.to(device)).sum().item()
        best = max(best, right / len(val))
    peak = torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else 0
    print(f"best val accuracy {best:.4f}, whole run {time.perf_counter() - start:.1f} s, peak {peak:.0f} MB")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
