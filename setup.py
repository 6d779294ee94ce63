"""What pyproject.toml cannot say: the page, built by Vite into web/dist, is installed as server/page."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PAGE = Path(__file__).resolve().parent / "web" / "dist"


class BuildWithPage(build_py):
    """Copies the modules, then the page where it has been built; without it the server starts and says so at `/`."""

    def run(self) -> None:
        if self.editable_mode:  # a checkout serves web/dist itself
            super().run()
            return
        # What an earlier build left there would end up in the wheel, modules that no longer exist included.
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        if (PAGE / "index.html").is_file():
            self.copy_tree(str(PAGE), str(Path(self.build_lib) / "server" / "page"))
        else:
            self.warn("web/dist/index.html is missing, so the page is left out; `make page` builds it")


setup(cmdclass={"build_py": BuildWithPage})
