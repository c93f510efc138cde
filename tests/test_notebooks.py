"""Every notebook runs from top to bottom, and its pictures have something in them."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def _outputs(notebook: nbformat.NotebookNode, mime: str) -> list[str]:
    return [
        "".join(output["data"][mime])
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if mime in output.get("data", {})
    ]


@pytest.mark.cluster
# nbclient and jupyter_client warn of their own event loops and paths, nothing of ours runs here.
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_notebook_runs(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    drawings = [svg for svg in _outputs(notebook, "image/svg+xml") if "<rect" in svg]
    assert len(drawings) >= 2  # the round's task graph, and the load of each worker
    assert "map 1" in drawings[0]
    assert "compute" in drawings[1]
    assert "KMeans" in drawings[1]
    assert _outputs(notebook, "image/png")  # the photograph in its 16 colours


def test_there_is_a_quickstart() -> None:
    assert "quickstart.ipynb" in [p.name for p in NOTEBOOKS]
