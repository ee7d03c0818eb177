"""Trains and registers as people do, by MLflow's own client of whatever release runs this: `trained.py URI SUFFIX`.

The suffix is of the names of the models.
"""

import logging
import sys

import mlflow
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema


class Same(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        return model_input


INPUTS = Schema([ColSpec("long", "age"), ColSpec("double", "income", required=False)])
SIGNATURE = ModelSignature(INPUTS, Schema([ColSpec("double", "score")]))


def train(uri: str, suffix: str) -> None:
    logging.disable(logging.CRITICAL)
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient()
    place = {"name": "model"} if mlflow.__version__.startswith("3.") else {"artifact_path": "model"}
    with mlflow.start_run() as run:
        mlflow.log_metric("validation_accuracy", 0.95)
        mlflow.pyfunc.log_model(
            python_model=Same(),
            signature=SIGNATURE,
            registered_model_name=f"logged{suffix}",
            pip_requirements=[],
            **place,
        )
    source = f"runs:/{run.info.run_id}/model"
    mlflow.register_model(source, f"registered{suffix}")
    client.create_registered_model(f"created{suffix}")
    client.create_model_version(f"created{suffix}", source, run.info.run_id)
    client.copy_model_version(f"models:/logged{suffix}/1", f"copied{suffix}")
    client.copy_model_version(f"models:/copied{suffix}/1", f"copied-again{suffix}")


if __name__ == "__main__":
    train(sys.argv[1], sys.argv[2])
