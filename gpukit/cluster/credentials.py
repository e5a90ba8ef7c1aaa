"""Who we are to the API server: a token, a file with one, a certificate, or a plugin's answer."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Protocol

from gpukit.errors import ClusterError

__all__ = ["Credentials", "ExecCredentials", "StaticCredentials", "TokenFile"]

Pair = tuple[str, str]
"""PEM of a certificate and of its key."""

_MARGIN = timedelta(seconds=30)
_PLUGIN_SECONDS = 60.0


class Credentials(Protocol):
    """Where the Authorization header comes from, and a client certificate if there is one."""

    def header(self) -> str | None:
        """Return the Authorization header; None where there is none."""
        ...

    def certificate(self) -> Pair | None:
        """Return a client certificate and its key."""
        ...

    def renew(self) -> bool:
        """Forget what the server did not accept; tell whether there may be something newer."""
        ...


@dataclass(frozen=True)
class StaticCredentials:
    """What a kubeconfig holds itself."""

    token: str | None = field(default=None, repr=False)
    basic: str | None = field(default=None, repr=False)
    pair: Pair | None = field(default=None, repr=False)

    def __init__(
        self, token: str | None = None, basic: str | None = None, certificate: Pair | None = None
    ) -> None:
        object.__setattr__(self, "token", token)
        object.__setattr__(self, "basic", basic)
        object.__setattr__(self, "pair", certificate)

    def header(self) -> str | None:
        """Return the Authorization header; None where there is none."""
        if self.token:
            return f"Bearer {self.token}"
        return f"Basic {self.basic}" if self.basic else None

    def certificate(self) -> Pair | None:
        """Return a client certificate and its key."""
        return self.pair

    def renew(self) -> bool:
        """Nothing newer can come."""
        return False


@dataclass
class TokenFile:
    """A file with a token, that is replaced from time to time: read again for every header."""

    path: Path
    _refused: str = field(default="", repr=False)

    def header(self) -> str | None:
        """Return the Authorization header.

        Raises:
            ClusterError: the file cannot be read.
        """
        return f"Bearer {self._token()}"

    def certificate(self) -> Pair | None:
        """There is none beside a token's file."""
        return None

    def renew(self) -> bool:
        """Tell whether the file has another token than the one that was refused before."""
        token = self._token()
        before, self._refused = self._refused, token
        return token != before

    def _token(self) -> str:
        try:
            return self.path.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            raise ClusterError(
                "cluster-login", f"the token file {self.path} cannot be read: {error}",
                "log in again, as for kubectl",
            ) from None  # fmt: skip


@dataclass
class ExecCredentials:
    """A plugin such as ``aws eks get-token`` or ``gke-gcloud-auth-plugin`` (client-go's exec).

    Args:
        settings: ``users[].user.exec`` of the kubeconfig.
        folder: of the kubeconfig; a relative command starts from it.
        cluster: what the plugin is told of the cluster where it asks for it.
    """

    settings: Mapping[str, Any]
    folder: Path
    cluster: Mapping[str, Any]
    _status: Mapping[str, Any] | None = field(default=None, repr=False)

    def header(self) -> str | None:
        """Return the Authorization header; runs the plugin when its last answer has expired."""
        token = self._current().get("token")
        return f"Bearer {token}" if token else None

    def certificate(self) -> Pair | None:
        """Return a client certificate and its key, if the plugin gave one."""
        status = self._current()
        pair = status.get("clientCertificateData"), status.get("clientKeyData")
        return (str(pair[0]), str(pair[1])) if pair[0] and pair[1] else None

    def renew(self) -> bool:
        """Have the plugin asked again."""
        self._status = None
        return True

    def _current(self) -> Mapping[str, Any]:
        if self._status is None or _expired(self._status.get("expirationTimestamp")):
            self._status = self._ask()
        return self._status

    def _ask(self) -> Mapping[str, Any]:
        command = str(self.settings.get("command"))
        if "/" in command and not Path(command).is_absolute():
            command = str(self.folder / command)
        info = {
            "apiVersion": self.settings.get("apiVersion", "client.authentication.k8s.io/v1"),
            "kind": "ExecCredential",
            "spec": {"interactive": False},
        }
        if self.settings.get("provideClusterInfo"):
            info["spec"]["cluster"] = dict(self.cluster)
        own = {str(e["name"]): str(e["value"]) for e in self.settings.get("env") or ()}
        environ = {**os.environ, **own, "KUBERNETES_EXEC_INFO": json.dumps(info)}
        try:
            said = subprocess.run(
                [command, *map(str, self.settings.get("args") or ())], env=environ, check=True,
                stdin=subprocess.DEVNULL, capture_output=True, timeout=_PLUGIN_SECONDS,
            ).stdout  # fmt: skip
            status = json.loads(said)["status"]
        except FileNotFoundError:
            hint = self.settings.get("installHint") or f"install it: {command}"
            raise _failed(command, "it is not installed", str(hint)) from None
        except subprocess.CalledProcessError as error:
            words = error.stderr.decode(errors="replace").strip()
            raise _failed(command, words or f"exit code {error.returncode}") from None
        except subprocess.TimeoutExpired:
            raise _failed(command, f"no answer within {_PLUGIN_SECONDS:.0f} s") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _failed(command, f"its answer cannot be read ({error!r})") from None
        return status if isinstance(status, Mapping) else {}


def _failed(command: str, why: str, hint: str = "log in again, as for kubectl") -> ClusterError:
    return ClusterError("cluster-login", f"the credentials plugin {command} failed: {why}", hint)


def _expired(timestamp: object) -> bool:
    if not timestamp:
        return False
    try:
        end = datetime.fromisoformat(str(timestamp).replace("Z", "+00:00"))
    except ValueError:
        return False
    return datetime.now(timezone.utc) + _MARGIN >= end
