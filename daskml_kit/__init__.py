"""Machine learning on data spread over a Dask cluster, with scikit-learn's names and answers."""

from daskml_kit.runtime.config import config_context
from daskml_kit.runtime.events import Run, record

__version__ = "0.1.0"

__all__ = ["Run", "__version__", "config_context", "record"]
