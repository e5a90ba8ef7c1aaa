"""Files that look as if they held secrets. The secret itself is never shown."""

from __future__ import annotations

import fnmatch
import re
from pathlib import PurePosixPath

__all__ = ["secret_in"]

_NAMES = (
    ".env", ".env.*", "*.pem", "*.p12", "*.pfx", "*.key", "*.keystore", "*.jks", "id_rsa", "id_dsa",
    "id_ecdsa", "id_ed25519", "kubeconfig", "*.kubeconfig", ".netrc", ".pypirc", ".npmrc",
    "credentials", "credentials.json", "service-account*.json", "service_account*.json",
    ".htpasswd", ".dockercfg", ".dockerconfigjson", ".git-credentials", "*.kdbx", "secrets.toml",
    "secrets.y*ml", "secrets.json",
)  # fmt: skip
_HARMLESS = (".env.example", ".env.sample", ".env.template")
_CONTENT = {
    "a private key": rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----",
    "an AWS access key": rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "an AWS secret key": rb"(?i)aws_secret_access_key\W{1,5}[0-9a-z/+]{40}\b",
    "a Hugging Face token": rb"\bhf_[A-Za-z0-9]{30,}\b",
    "a GitHub token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})\b",
    "a GitLab token": rb"\bglpat-[A-Za-z0-9_-]{20,}",
    "an API key (sk-…)": rb"\bsk-(?:[a-z]+-)*[A-Za-z0-9_-]{32,}\b",
    "a Google API key": rb"\bAIza[0-9A-Za-z_-]{35}\b",
    "a Google service account": rb'"private_key_id"\s*:\s*"[0-9a-f]{40}"',
    "a Slack token": rb"\bxox[abprs]-[0-9A-Za-z-]{20,}",
    "an Azure storage key": rb"AccountKey=[A-Za-z0-9+/]{86}==",
    "a Weights & Biases key": rb"(?i)wandb_api_key\W{1,5}[0-9a-f]{40}\b",
    "a kubeconfig": rb"(?m)^\s*client-key-data:\s*[A-Za-z0-9+/]{40}",
}
_ANY = re.compile(b"|".join(b"(?:%s)" % p.replace(b"(?i)", b"").replace(b"(?m)", b"")
                            for p in _CONTENT.values()), re.IGNORECASE | re.MULTILINE)  # fmt: skip
_EACH = {what: re.compile(pattern) for what, pattern in _CONTENT.items()}


def secret_in(name: str, data: bytes) -> str | None:
    """Return what a file seems to hold, as words; None where it looks harmless."""
    base = PurePosixPath(name).name.lower()
    if base not in _HARMLESS and any(fnmatch.fnmatchcase(base, p) for p in _NAMES):
        return "its name is one of files with secrets"
    if _ANY.search(data) is None:
        return None
    found = next((what for what, regex in _EACH.items() if regex.search(data)), None)
    return f"it seems to hold {found}" if found else None
