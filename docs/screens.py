"""Take pictures of the site's pages, wide and narrow, light and dark, with a Chromium if the machine has one.

`python docs/screens.py SITE FOLDER`: the built site, and where the pictures go. `CHROMIUM` names another browser.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PLAYWRIGHT = "ms-playwright/chromium*/chrome-linux*/*chrom*"
PAGES = ("index", "reference/catalogue", "reference/adamw", "gallery", "recipes")
SIZES = {"wide": (1280, 2400), "narrow": (500, 2400)}
"""A headless Chromium makes no window below 500."""
THEMES = {"light": 1, "dark": 0}


def browser() -> str | None:
    """A Chromium: the one that is asked for, one on the path, or one that playwright has fetched."""
    on_path = map(shutil.which, filter(None, [os.environ.get("CHROMIUM"), *BROWSERS]))
    cached = sorted((Path.home() / ".cache").glob(PLAYWRIGHT))
    return next(filter(None, [*on_path, *(str(p) for p in cached if os.access(p, os.X_OK) and p.is_file())]), None)


def shots(site: Path, folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each picture, and the arguments that make it."""
    for page in PAGES:
        if not (html := site / f"{page}.html").exists():
            continue
        for size, (width, height) in SIZES.items():
            for theme, scheme in THEMES.items():
                picture = folder / f"{html.stem}-{size}-{theme}.png"
                options = [f"--window-size={width},{height}", f"--blink-settings=preferredColorScheme={scheme}"]
                yield picture, [*options, f"--screenshot={picture}", html.resolve().as_uri()]


def main(site: Path, folder: Path) -> int:
    chromium = browser()
    if chromium is None:
        print(f"no pictures of the site: none of {', '.join(BROWSERS)} is on this machine (CHROMIUM=... names one)")
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    missing = []
    for picture, arguments in shots(site, folder.resolve()):
        picture.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory() as profile:
            fixed = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
            run = subprocess.run([chromium, *fixed, *arguments], capture_output=True, timeout=120, check=False)
        if not picture.exists():
            missing.append(f"{picture.name}: {run.stderr.decode()[-300:]}")
    print(*missing, f"{folder}: {len(list(folder.glob('*.png')))} pictures", sep="\n")
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
