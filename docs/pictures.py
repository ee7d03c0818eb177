"""Makes docs/pictures, of a report about a made-up quarter; see `make pictures`. Needs chromium on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.reports.quarter import lived

HERE = Path(__file__).resolve().parent / "pictures"
COMMAND = Path(sys.executable).with_name("mlflow-reconciler")
# By name: which page, how wide and high, and whether in the dark.
PICTURES = {
    "report.png": ("index.html", 1200, 1240, "light"),
    "decision.png": ("decision-*.html", 1200, 860, "dark"),
}


def draw(folder: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("make pictures needs chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, (pattern, width, height, scheme) in PICTURES.items():
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.goto(sorted(folder.glob(pattern))[0].as_uri())
            page.screenshot(path=HERE / name)
        browser.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        # What the page says of its database is a place on this machine, otherwise.
        os.chdir(directory)
        url = "sqlite:///audit.db"
        lived(url)
        environment = {**os.environ, "RECONCILER_AUDIT__URL": url}
        subprocess.run([COMMAND, "audit", "report", "--html", "report", "--since", "91d"], env=environment, check=True)
        draw(Path(directory, "report"))
