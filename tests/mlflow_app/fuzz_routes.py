"""Every route of the server that changes something, read from the tables that MLflow serves from, and its family.

The test fails on a route that no family names, so that a new MLflow release is reviewed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_READS = {"GET", "HEAD", "OPTIONS"}

# What can reach a holder, its name, its tags, its bytes or what it came from; these are called most.
DANGEROUS: dict[str, str] = {
    "registry": """
        _transition_stage transition_requests_transition_stage _set_registered_model_alias
        _delete_registered_model_alias _delete_model_version _delete_registered_model _rename_registered_model
        _set_model_version_tag _delete_model_version_tag _create_model_version _set_registered_model_tag
        _delete_registered_model_tag _update_model_version _create_registered_model _update_registered_model
        _get_latest_versions""",
    "requests": """
        transition_requests_create transition_requests_approve transition_requests_reject
        transition_requests_delete""",
    "artifacts": """
        _upload_artifact _delete_artifact_mlflow_artifacts _create_multipart_upload_artifact
        _complete_multipart_upload_artifact _abort_multipart_upload_artifact _create_presigned_upload_url
        _create_presigned_download_url serve_upload_artifact""",
    "workspaces": "_create_workspace_handler _update_workspace_handler _delete_workspace_handler",
    "origins": """
        _delete_run _restore_run _delete_experiment _restore_experiment _delete_logged_model _update_run
        _update_experiment _finalize_logged_model""",
}

HARMLESS: dict[str, str] = {
    "tracking": """
        _create_experiment _set_experiment_tag _delete_experiment_tag _search_experiments serve_search_datasets
        _create_logged_model _log_logged_model_params _set_logged_model_tags _delete_logged_model_tag
        _search_logged_models _create_run serve_create_promptlab_run _set_tag _delete_tag _log_batch _log_inputs
        _log_metric _log_model _log_param _log_outputs _search_runs _not_implemented""",
    "traces": """
        _deprecated_start_trace_v2 _deprecated_end_trace_v2 _set_trace_tag _delete_trace_tag _delete_traces
        _link_prompts_to_trace _link_traces_to_run _start_trace_v3 _create_assessment _update_assessment
        _delete_assessment _set_trace_tag_v3 _delete_trace_tag_v3 _batch_get_trace_infos
        _calculate_trace_filter_correlation _query_trace_metrics _search_traces_v3""",
    "webhooks": "_create_webhook _update_webhook _delete_webhook _test_webhook",
    "datasets": """
        _delete_dataset_handler _add_dataset_to_experiments_handler _upsert_dataset_records_handler
        _delete_dataset_records_handler _remove_dataset_from_experiments_handler _set_dataset_tags_handler
        _delete_dataset_tag_handler _create_dataset_handler _search_evaluation_datasets_handler""",
    "gateway": """
        serve_gateway_proxy _create_budget_policy _delete_budget_policy _update_budget_policy
        _create_gateway_endpoint_binding _delete_gateway_endpoint_binding _create_gateway_endpoint
        _delete_gateway_endpoint _delete_gateway_endpoint_tag _attach_model_to_gateway_endpoint
        _detach_model_from_gateway_endpoint _set_gateway_endpoint_tag _update_gateway_endpoint
        _add_guardrail_to_endpoint _create_gateway_guardrail _delete_gateway_guardrail
        _remove_guardrail_from_endpoint _update_endpoint_guardrail_config _create_gateway_model_definition
        _delete_gateway_model_definition _update_gateway_model_definition _create_gateway_secret
        _delete_gateway_secret _update_gateway_secret""",
    "review": """
        _create_issue _update_issue _invoke_issue_detection_handler _search_issues _create_label_schema
        _delete_label_schema _update_label_schema _create_review_queue _delete_review_queue
        _get_or_create_user_queue _add_items_to_review_queue _remove_items_from_review_queue
        _set_review_queue_item_status _update_review_queue""",
    "scorers and jobs": """
        _invoke_genai_evaluate_handler _invoke_scorer_handler _delete_scorer _upsert_online_scoring_config
        _register_scorer _cancel_job _create_prompt_optimization_job _delete_prompt_optimization_job
        _cancel_prompt_optimization_job _search_prompt_optimization_jobs _delete_demo _generate_demo""",
    "users": """
        create_user <lambda> delete_user update_user_admin update_user_password assign_role create_role delete_role
        add_role_permission remove_role_permission update_role_permission unassign_role update_role
        grant_user_permission revoke_user_permission""",
    "graphql": "_graphql",
    "telemetry": "serve_post_ui_telemetry",
}

# Served by FastAPI itself; the first key that is part of the path names the family.
_NATIVE = {
    "/mlflow-artifacts/artifacts/": "artifacts",
    "/mlflow/mcp-servers": "mcp servers",
    "/gateway/": "gateway",
    "/mlflow/assistant/": "assistant",
    "/jobs/": "scorers and jobs",
    "/v1/traces": "traces",
}
_NATIVE_KNOWN = """
    PUT /api/2.0/mlflow-artifacts/artifacts/{artifact_path:path}
    PUT /ajax-api/2.0/mlflow-artifacts/artifacts/{artifact_path:path}
    POST /v1/traces POST /ajax-api/3.0/jobs/ PATCH /ajax-api/3.0/jobs/cancel/{job_id} POST /ajax-api/3.0/jobs/search
    POST /gateway/anthropic/v1/messages POST /gateway/gemini/v1beta/models/{endpoint_name}:generateContent
    POST /gateway/gemini/v1beta/models/{endpoint_name}:streamGenerateContent
    POST /gateway/mlflow/v1/chat/completions POST /gateway/openai/v1/chat/completions
    POST /gateway/openai/v1/embeddings POST /gateway/openai/v1/responses POST /gateway/openai/v1/responses/compact
    POST /gateway/proxy/{endpoint_name}/{path:path} POST /gateway/typesafe/v1/systemone
    POST /gateway/{endpoint_name}/mlflow/invocations
    POST /ajax-api/3.0/mlflow/assistant/message PATCH /ajax-api/3.0/mlflow/assistant/sessions/{session_id}
    POST /ajax-api/3.0/mlflow/assistant/sessions/{session_id}/permission
    POST /ajax-api/3.0/mlflow/assistant/sessions/{session_id}/tool-result
    PUT /ajax-api/3.0/mlflow/assistant/config POST /ajax-api/3.0/mlflow/assistant/skills/install
"""
_MCP_KNOWN = """
    POST . DELETE /{name:path} PATCH /{name:path} POST /{name:path}/aliases DELETE /{name:path}/aliases/{alias:path}
    POST /{name:path}/endpoints DELETE /{name:path}/endpoints/{endpoint_id}
    PATCH /{name:path}/endpoints/{endpoint_id} POST /{name:path}/tags DELETE /{name:path}/tags/{key:path}
    POST /{name:path}/versions PATCH /{name:path}/versions/{version:path}
    DELETE /{name:path}/versions/{version:path} POST /{name:path}/versions/{version:path}/tags
    DELETE /{name:path}/versions/{version:path}/tags/{key:path}
"""


class NoGenerator(Exception):
    """MLflow has routes that change something and have not been reviewed; the message names them."""


@dataclass(frozen=True)
class Route:
    """One method of one path. `message` is the descriptor of the protocol buffer that it reads, if it reads one."""

    method: str
    rule: str
    endpoint: str
    family: str
    native: bool
    message: Any = None

    @property
    def label(self) -> str:
        return f"{self.method} {self.rule}"


def routes_of(flask_app: Any, served: Any) -> list[Route]:
    """The routes that this process serves: MLflow's Flask routes, and before them FastAPI's if there are any.

    Raises:
        NoGenerator: a route is in no family.
    """
    messages = _messages()
    routes = [*_flask_routes(flask_app, messages), *_native_routes(served)]
    unknown = sorted(route.label for route in routes if not route.family)
    if unknown:
        raise NoGenerator(f"no calls are made for {', '.join(unknown)}: name each in a family of fuzz_routes.py")
    return sorted(routes, key=lambda route: (route.rule, route.method, route.native))


def _flask_routes(flask_app: Any, messages: dict[tuple[str, str], Any]) -> Iterator[Route]:
    families = {endpoint: name for name, text in (DANGEROUS | HARMLESS).items() for endpoint in text.split()}
    for rule in flask_app.url_map.iter_rules():
        for method in sorted(set(rule.methods) - _READS):
            family = families.get(rule.endpoint, "")
            yield Route(method, rule.rule, rule.endpoint, family, False, messages.get((method, rule.rule)))


def _native_routes(served: Any) -> Iterator[Route]:
    for route, before in _walk(getattr(served, "routes", [])):
        for method in sorted(set(getattr(route, "methods", None) or ()) - _READS):
            path = before + route.path
            yield Route(method, path, f"native {method} {path}", _native_family(method, path), True)


def _walk(routes: Any, before: str = "") -> Iterator[tuple[Any, str]]:
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            context = getattr(route, "include_context", None)
            yield from _walk(inner.routes, before + getattr(context, "prefix", ""))
        elif hasattr(route, "methods"):
            yield route, before


def _native_family(method: str, path: str) -> str:
    known = set(zip(*[iter(_NATIVE_KNOWN.split())] * 2, strict=True))
    mcp = {(of, "" if tail == "." else tail) for of, tail in zip(*[iter(_MCP_KNOWN.split())] * 2, strict=True)}
    family = next((family for part, family in _NATIVE.items() if part in path), "")
    if family == "mcp servers":
        return family if (method, path.partition("/mlflow/mcp-servers")[2]) in mcp else ""
    # Under a static prefix the rest of the path is the same.
    return family if any(of == method and path.endswith(tail) for of, tail in known) else ""


def _messages() -> dict[tuple[str, str], Any]:
    """The message that each of MLflow's own routes reads, from the services that define the routes."""
    from mlflow.protos import databricks_pb2
    from mlflow.server import handlers

    services = (
        handlers.MlflowService, handlers.ModelRegistryService, handlers.MlflowArtifactsService, handlers.WebhookService,
    )  # fmt: skip
    found = {}
    for service in services:
        for call in service.DESCRIPTOR.methods:
            for endpoint in call.GetOptions().Extensions[databricks_pb2.rpc].endpoints:
                for path in handlers._get_paths(endpoint.path, version=endpoint.since.major):
                    found[endpoint.method, path] = call.input_type
    return found
