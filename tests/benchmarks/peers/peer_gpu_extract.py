"""What a user would write to embed a folder of images on a GPU, instead of featx.

usage: peer_gpu_extract.py MODE FOLDER [--net NAME] [--side PX] [--batch N] [--workers N] [--device cuda|cpu]
naive    DataLoader, fp32, one blocking copy of each batch
expert   pinned memory, channels_last, bf16 autocast, non-blocking copies
compile  the expert's loop with torch.compile
NAME: any timm name, random weights. Prints images per second of the loop (start-up and compilation left out) and the peak of GPU memory.
"""
import argparse, glob, os, time
import numpy as np, timm, torch
from PIL import Image
from torchvision import transforms as T


class Folder(torch.utils.data.Dataset):
    def __init__(self, root, side):
        self.files = sorted(glob.glob(os.path.join(root, "**", "*.*"), recursive=True))
        self.tf = T.Compose([T.Resize((side, side)), T.ToTensor(), T.Normalize([0.5] * 3, [0.5] * 3)])

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        return self.tf(Image.open(self.files[i]).convert("RGB"))


def main(args):
    fast = args.mode != "naive"
    torch.manual_seed(0)
    net = timm.create_model(args.net, pretrained=False, num_classes=0).eval().to(args.device)
    if fast:
        net = net.to(memory_format=torch.channels_last)
    if args.mode == "compile":
        net = torch.compile(net)
    on_gpu = args.device == "cuda"
    loader = torch.utils.data.DataLoader(
        Folder(args.folder, args.side), batch_size=args.batch, num_workers=args.workers, pin_memory=fast and on_gpu
    )
    rows = []
    with torch.inference_mode(), torch.autocast(args.device, torch.bfloat16, enabled=fast):
        x = torch.randn(args.batch, 3, args.side, args.side, device=args.device)
        net(x.contiguous(memory_format=torch.channels_last) if fast else x)
        last = len(loader.dataset) % args.batch
        if last and args.mode == "compile":
            net(x[:last].contiguous(memory_format=torch.channels_last))
        if on_gpu:
            torch.cuda.synchronize()
        start = time.perf_counter()
        for x in loader:
            x = x.to(args.device, non_blocking=fast)
            if fast:
                x = x.contiguous(memory_format=torch.channels_last)
            rows.append(net(x).float().cpu().numpy())
        rows = np.concatenate(rows)
        seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated() / 1e6 if on_gpu else 0
    print(f"{args.mode} {len(rows) / seconds:.1f} images/s, peak {peak:.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["naive", "expert", "compile"])
    parser.add_argument("folder")
    parser.add_argument("--net", default="tf_efficientnet_lite0")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cuda")
    main(parser.parse_args())
