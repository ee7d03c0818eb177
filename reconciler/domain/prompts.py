"""What makes a registered model a prompt: MLflow keeps both in the same tables, so no two have one name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# The tag of a prompt and of each of its versions. MLflow's searches leave out what has it, unless it is asked for.
MARK: Final = "mlflow.prompt.is_prompt"
# As MLflow's clients and servers write the source of a prompt's version, which has no files.
SOURCES_OF_PROMPTS: Final = frozenset({"prompt-template", "dummy-source"})


def is_marked(tags: Mapping[str, str]) -> bool:
    """Whether MLflow takes what has these tags for a prompt, or for a version of one."""
    return tags.get(MARK) == "true"
