"""Benchmark of ``featx init`` on 100,000 files in a folder and in a zip, and on a table of 1,000,000 rows.

usage: python -m tests.benchmarks.recognition [N_FILES] [N_ROWS]

The peer is the script that people write: list the files, take the class from the folder, and read the table with
pandas. Both run in fresh processes, in turn; medians of the seconds after the imports, and peak memory, are compared.
"""

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from PIL import Image

from featx.artifacts.header import commit

N_ROUNDS = 5
N_CLASSES = 20
MEASURE = """
import json, time
from pathlib import Path
{imports}
start = time.perf_counter()
{work}
seconds = time.perf_counter() - start
(peak,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(json.dumps([seconds, int(peak) * 1024, n]))
"""
PEER_IMPORTS = "import zipfile, pandas as pd\nfrom pathlib import Path"
FOLDER_PEER = """
files = sorted(path for path in Path({source!r}).rglob("*") if path.is_file())
frame = pd.DataFrame({{"path": [str(path) for path in files], "class": [path.parent.name for path in files],
                      "size": [path.stat().st_size for path in files]}})
n = len(frame)
"""
ZIP_PEER = """
names = [info.filename for info in zipfile.ZipFile({source!r}).infolist() if not info.is_dir()]
frame = pd.DataFrame({{"path": names, "class": [name.split("/")[0] for name in names]}})
n = len(frame)
"""
TABLE_PEER = """
names = {{info.filename for info in zipfile.ZipFile({source!r}).infolist() if not info.is_dir()}}
frame = pd.read_csv({table!r})
n = int(frame["file"].isin(names).sum())
"""
OURS_IMPORTS = "import pandas, pyarrow.csv, pyarrow.compute, PIL.Image, simplejpeg\nfrom featx.images.init import init"
OURS = "n = init({source!r}, labels={table!r}, recipe={recipe!r}, force=True).n_found"


def write_sources(folder: Path, n_files: int, n_rows: int) -> None:
    """Write a folder and a zip of small images in class folders, and a zip and a table with one row for each image."""
    picture = folder / "picture.png"
    Image.new("RGB", (2, 2)).save(picture)
    content = picture.read_bytes()
    names = [f"c{number % N_CLASSES}/{number:07}.png" for number in range(n_files)]
    for name in names:
        file = folder / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    for archive, members in (("images.zip", names), ("rows.zip", [f"{number}.png" for number in range(n_rows)])):
        with zipfile.ZipFile(folder / archive, "w") as zip_file:
            for name in members:
                zip_file.writestr(name, content)
    lines = [f"{number}.png,{'cat' if number % 2 else 'dog'},{number % 97}" for number in range(n_rows)]
    (folder / "rows.csv").write_text("\n".join(["file,label,age", *lines]))


def measure(imports: str, work: str) -> tuple[float, float, int]:
    """Return the seconds, the peak memory in bytes, and the number of images that a script finds."""
    code = MEASURE.format(imports=imports, work=work)
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    seconds, n_bytes, n = json.loads(result.stdout)
    return seconds, n_bytes, n


def compare(name: str, peer: str, ours: str) -> None:
    """Run both scripts in turn and print their medians."""
    rounds = [(measure(PEER_IMPORTS, peer), measure(OURS_IMPORTS, ours)) for _ in range(N_ROUNDS)]
    assert len({images for pair in rounds for *_, images in pair}) == 1, "both must find the same images"
    peer_s, ours_s = (statistics.median(pair[side][0] for pair in rounds) for side in (0, 1))
    peer_mb, ours_mb = (statistics.median(pair[side][1] for pair in rounds) / 1e6 for side in (0, 1))
    print(
        f"{name:<28} script {peer_s:6.2f} s {peer_mb:6.0f} MB   featx init {ours_s:6.2f} s {ours_mb:6.0f} MB   "
        f"{ours_s / peer_s:5.2f} x"
    )


def main() -> None:
    """Print one line for each source."""
    n_files, n_rows = (int(text) for text in (*sys.argv[1:3], "100000", "1000000")[:2])
    print(f"{platform.machine()}, {commit()}; {N_ROUNDS} rounds, medians")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sources(folder, n_files, n_rows)
        recipe = str(folder / "featx.toml")
        images, zip_path, rows = (str(folder / place) for place in ("images", "images.zip", "rows.zip"))
        table = str(folder / "rows.csv")
        ours = {place: OURS.format(source=place, table=None, recipe=recipe) for place in (images, zip_path)}
        compare(f"{n_files} files in a folder", FOLDER_PEER.format(source=images), ours[images])
        compare(f"{n_files} files in a zip", ZIP_PEER.format(source=zip_path), ours[zip_path])
        compare(
            f"a table of {n_rows} rows",
            TABLE_PEER.format(source=rows, table=table),
            OURS.format(source=rows, table=table, recipe=recipe),
        )


if __name__ == "__main__":
    main()
