"""Credentials and TLS from our settings, else from MLflow's own variables and files."""

from __future__ import annotations

import base64
import configparser
import ssl
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import requests
from requests.auth import AuthBase

from reconciler.domain.text import visible
from reconciler.ports import Refused
from reconciler.registry.certificates import CA_VARIABLE
from reconciler.registry.endpoint import NoAuth
from reconciler.settings.errors import SettingsError
from reconciler.settings.model import RegistrySettings
from reconciler.settings.secret_files import secret_path
from reconciler.settings.sendable import as_utf8, in_a_header

_REFUSED = "the server refused"


class HeaderAuth(AuthBase):
    """Sets the Authorization header. Its `repr` names the scheme only; `origin` names the credential's source."""

    def __init__(self, scheme: str, value: str, origin: str = "") -> None:
        self._scheme = scheme
        self._value = value
        self.origin = f"{_REFUSED} {origin}: is it correct, and not expired?" if origin else ""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"{self._scheme} {self._value}"
        return request

    def __repr__(self) -> str:
        return f"<{self._scheme} credentials>"


class RotatingToken(HeaderAuth):
    """A bearer token from a file that may be replaced while we run."""

    def __init__(self, path: Path, token: str) -> None:
        super().__init__("Bearer", token, f"the token in {path}")
        self._path = path

    def renew(self) -> bool:
        """Read the file again. Returns False if the token is unchanged or cannot be read."""
        try:
            token = in_a_header(self._path.read_text(encoding="utf-8").strip())
        except (OSError, ValueError):
            return False
        changed, self._value = token != self._value, token
        return changed


def basic(username: str, password: str, origin: str = "") -> HeaderAuth:
    return HeaderAuth("Basic", base64.b64encode(f"{username}:{password}".encode()).decode(), origin)


def resolve_auth(registry: RegistrySettings, environ: Mapping[str, str], directory: Path | None = None) -> AuthBase:
    """Return the first of: our settings, an MLflow auth plugin, MLflow's variables, MLflow's credentials file, none.

    `directory`: the configured `credentials_directory`.

    Raises:
        SettingsError: the configured credentials cannot be used. MLflow itself would continue without any.
    """
    if registry.token is not None:
        token = registry.token.get_secret_value()
        path = secret_path("registry", "token", directory)
        return RotatingToken(path, token) if path is not None else HeaderAuth("Bearer", token, "registry.token")
    if registry.username is not None and registry.password is not None:
        file = secret_path("registry", "password", directory)
        origin = f"user {visible(registry.username, 100)} with the password " + (
            f"in {file}" if file else "of registry.password"
        )
        return basic(registry.username, registry.password.get_secret_value(), origin)
    _refuse_half_a_login(registry)
    if plugin := environ.get("MLFLOW_TRACKING_AUTH"):
        return _plugin(plugin)
    if environ.get("MLFLOW_TRACKING_AWS_SIGV4", "").lower() in {"true", "1"}:
        return _sigv4()
    return _from_mlflow(environ) or NoAuth()


def _refuse_half_a_login(registry: RegistrySettings) -> None:
    """Otherwise the calls would be made without any credentials, or with those of somebody else."""
    if registry.username is None and registry.password is None:
        return
    given, lacking = ("username", "password") if registry.password is None else ("password", "username")
    raise SettingsError([f"registry.{given} is set without registry.{lacking}: set both, or remove it"])


def _from_mlflow(environ: Mapping[str, str]) -> AuthBase | None:
    """Basic wins over a token when both are set, as in MLflow's own client."""
    stored = _credentials_file(environ)
    username = environ.get("MLFLOW_TRACKING_USERNAME") or stored.get("mlflow_tracking_username")
    password = environ.get("MLFLOW_TRACKING_PASSWORD") or stored.get("mlflow_tracking_password")
    if username and password:
        named = environ.get("MLFLOW_TRACKING_USERNAME") and environ.get("MLFLOW_TRACKING_PASSWORD")
        where = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" if named else "~/.mlflow/credentials"
        for value in (username, password):
            _checked(as_utf8, value, where)
        return basic(username, password, f"user {visible(username, 100)} of {where}")
    if token := environ.get("MLFLOW_TRACKING_TOKEN"):
        token = _checked(in_a_header, token, "MLFLOW_TRACKING_TOKEN")
        return HeaderAuth("Bearer", token, "the token of MLFLOW_TRACKING_TOKEN")
    return None


def _checked(check: Callable[[str], str], value: str, where: str) -> str:
    try:
        return check(value)
    except ValueError as error:
        raise SettingsError([f"{where}: {error}"]) from None


def _credentials_file(environ: Mapping[str, str]) -> Mapping[str, str]:
    if not environ.get("HOME"):
        return {}
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(Path(environ["HOME"]) / ".mlflow" / "credentials", encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"cannot read ~/.mlflow/credentials: {type(error).__name__}"]) from None
    return dict(parser["mlflow"]) if parser.has_section("mlflow") else {}


def _plugin(name: str) -> AuthBase:
    # Imported here, so that only users of a plugin pay for MLflow's import.
    from mlflow.tracking.request_auth.registry import fetch_auth

    with warnings.catch_warnings():
        # MLflow warns of what is told below.
        warnings.simplefilter("ignore")
        auth: Any = fetch_auth(name)
    if auth is None:
        raise SettingsError([f"MLFLOW_TRACKING_AUTH: no installed plugin is named {name!r}: install it, or unset this"])
    return _PluginAuth(name, auth)


class _PluginAuth(AuthBase):
    """Wraps a plugin's auth object, which need not be an AuthBase."""

    def __init__(self, name: str, auth: Any) -> None:
        self._name = name
        self._auth = auth
        self.origin = f"{_REFUSED} the credentials of the plugin {name}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        prepared: requests.PreparedRequest = self._auth(request)
        return prepared

    def __repr__(self) -> str:
        return f"<credentials of plugin {self._name}>"


def _sigv4() -> AuthBase:
    try:
        from requests_auth_aws_sigv4 import AWSSigV4
    except ImportError:
        message = "MLFLOW_TRACKING_AWS_SIGV4: needs the package requests-auth-aws-sigv4: install it, or unset this"
        raise SettingsError([message]) from None
    return _PluginAuth("aws-sigv4", AWSSigV4("execute-api"))


class DatabricksAuth(AuthBase):
    """The login that a Databricks profile or environment names: token, OAuth or a cloud's own login."""

    def __init__(self, config: Any) -> None:
        self._config = config
        method = f"{config.auth_type}, profile {config.profile or 'none'}"
        self.origin = f"{_REFUSED} the credentials of Databricks ({method})"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        try:
            request.headers.update(self._config.authenticate())
        except (ValueError, OSError) as error:
            # The SDK's message may repeat the credentials, so only the error's type is shown.
            raise Refused(f"cannot get Databricks credentials: {type(error).__name__}") from None
        if self._config.workspace_id:
            request.headers["X-Databricks-Workspace-Id"] = str(self._config.workspace_id)
        return request

    def __repr__(self) -> str:
        return "<databricks credentials>"


def databricks(uri: str) -> tuple[str, AuthBase]:
    """Return the workspace's address and credentials for `databricks` or `databricks://PROFILE`.

    Raises:
        SettingsError: databricks-sdk finds no credentials.
    """
    # Imported here, so that only users of Databricks pay for the SDK's import.
    from databricks.sdk.core import Config

    profile = uri.removeprefix("databricks").removeprefix("://") or None
    try:
        config = Config(profile=profile)
    except ValueError as error:
        reason = visible(str(error).splitlines()[0] if str(error) else type(error).__name__, 200)
        raise SettingsError([f"registry.uri: {uri}: no Databricks credentials: {reason}"]) from None
    return str(config.host), DatabricksAuth(config)


def tls(environ: Mapping[str, str]) -> tuple[bool | str, str | None]:
    """Return `verify` and `cert` for requests, from MLflow's variables.

    Raises:
        SettingsError: the variables contradict each other, or name missing files.
    """
    insecure = environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in {"true", "1"}
    bundle = environ.get(CA_VARIABLE) or environ.get("REQUESTS_CA_BUNDLE")
    cert = environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH") or None
    if insecure and environ.get(CA_VARIABLE):
        message = "MLFLOW_TRACKING_INSECURE_TLS and MLFLOW_TRACKING_SERVER_CERT_PATH are mutually exclusive: unset one"
        raise SettingsError([message])
    if bundle and not Path(bundle).exists():
        raise SettingsError([f"{_bundle_variable(environ)}: {bundle}: no such file: name the CA's certificate (PEM)"])
    if cert:
        _refuse_no_certificate(cert)
    return (False if insecure else bundle or True), cert


def _bundle_variable(environ: Mapping[str, str]) -> str:
    return CA_VARIABLE if environ.get(CA_VARIABLE) else "REQUESTS_CA_BUNDLE"


def _refuse_no_certificate(path: str) -> None:
    """Raises SettingsError if the client certificate cannot be used: requests would say so only in OpenSSL's words."""
    try:
        # Without a password OpenSSL would ask for one at the terminal.
        ssl.create_default_context().load_cert_chain(path, password="")
    except ssl.SSLError:
        reason = "holds no certificate with its unencrypted private key"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    else:
        return
    problem = f"MLFLOW_TRACKING_CLIENT_CERT_PATH: {visible(path, 200)} {reason}"
    raise SettingsError([f"{problem}: name one PEM file that holds both certificate and key"])
