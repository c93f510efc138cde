"""Everything the README shows is run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
LINKS = re.findall(r"\]\(([^)#]+)\)", README)


def test_the_readme_has_its_examples():
    assert len(EXAMPLES) == 3


@pytest.mark.cluster
def test_the_first_example_runs_as_a_script(tmp_path: Path) -> None:
    """It starts processes, which read the script again."""
    script = tmp_path / "example.py"
    script.write_text(EXAMPLES[0], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("number", range(1, len(EXAMPLES)))
def test_the_other_examples_run(
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(EXAMPLES[number], "README.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.strip()


def test_first_example_has_ten_lines_or_so():
    lines = [line for line in EXAMPLES[0].splitlines() if line.strip()]
    assert len(lines) <= 10


@pytest.mark.parametrize("link", [link for link in LINKS if "://" not in link])
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists(), f"the README links to {link}, which is not there"


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
