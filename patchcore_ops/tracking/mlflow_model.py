"""The model that MLflow loads: it reads the model's folder, and scores images.

MLflow keeps this file beside the folder and runs it to load the model ("models from code").
"""

from __future__ import annotations

from typing import Any

import mlflow.models
import mlflow.pyfunc


class PatchCoreModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    """Scores images given by path, in a column `path`, or as arrays."""

    def load_context(self, context: Any) -> None:
        """Load the model's folder."""
        from patchcore_ops.model import Model

        self._model = Model.load(context.artifacts["model"])

    # MLflow takes type hints here for a schema, and checks each input against it.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Score images.

        Parameters
        ----------
        context
            Unused.
        model_input : DataFrame, list or ndarray
            A table with a column `path`, a list of paths or arrays, or an array of uint8 of shape
            [H, W, 3] or [n, H, W, 3].
        params
            Unused.

        Returns
        -------
        DataFrame
            `image` (its path or number) and `score`, in the order of the images.
        """
        import pandas as pd

        if isinstance(model_input, pd.DataFrame):
            if "path" not in model_input.columns:
                raise ValueError("the table of images needs a column 'path'")
            model_input = [str(path) for path in model_input["path"]]
        found = self._model.stream(model_input)
        return pd.DataFrame([(one.name, one.score) for one in found], columns=["image", "score"])


mlflow.models.set_model(PatchCoreModel())
