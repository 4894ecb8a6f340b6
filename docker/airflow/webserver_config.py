"""The login of people to Airflow: by a password, or by OpenID Connect where OIDC_ISSUER is set.

Airflow executes this file. Nobody registers, and no page shows anything without a login.
"""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import urlsplit

from airflow.providers.fab.auth_manager.security_manager.override import FabAirflowSecurityManagerOverride
from airflow.providers.fab.auth_manager.views.user import CustomUserOAuthModelView
from flask_appbuilder.const import AUTH_DB, AUTH_OAUTH

ISSUER = os.environ.get("OIDC_ISSUER", "")
CLIENT_ID = os.environ.get("OIDC_CLIENT_ID", "")
CLIENT_SECRET = os.environ.get("OIDC_CLIENT_SECRET", "")
USERNAME_CLAIM = os.environ.get("OIDC_USERNAME_CLAIM") or "preferred_username"
ROLE_CLAIM = os.environ.get("OIDC_ROLE_CLAIM") or "groups"

# Without this beginning a person who calls himself `admin` there would get the account of the admin here.
BEGINNING = "oidc_"
ROLES = {"viewer": "Viewer", "operator": "User", "admin": "Admin"}
LOOPBACK = ("127.0.0.1", "::1", "localhost")
IS_BEHIND_TLS = os.environ.get("TLS") == "on" or os.environ.get("TLS_BY_PROXY") == "yes"

WTF_CSRF_ENABLED = True
SESSION_COOKIE_HTTPONLY = True
# `Strict` would drop the cookie of a sign-on at its return from the issuer.
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = IS_BEHIND_TLS
AUTH_TYPE = AUTH_OAUTH if ISSUER else AUTH_DB
AUTH_USER_REGISTRATION = bool(ISSUER)
AUTH_ROLES_SYNC_AT_LOGIN = True
AUTH_RATE_LIMITED = True
AUTH_RATE_LIMIT = "5 per 40 second"


class UsersView(CustomUserOAuthModelView):
    """Keeps the right to make a user, which Airflow drops with single sign-on and `mlops users add` needs."""

    base_permissions = [*CustomUserOAuthModelView.base_permissions, "can_create"]  # noqa: RUF012
    method_permission_name = {**CustomUserOAuthModelView.method_permission_name, "add": "create"}  # noqa: RUF012


class SecurityManager(FabAirflowSecurityManagerOverride):
    """Accepts a person of the issuer only with a group that OIDC_ROLES maps to a role, at each login again."""

    useroauthmodelview = UsersView

    def get_oauth_user_info(self, provider: str, resp: dict[str, Any]) -> dict[str, Any]:
        """Reads the claims of the id token, whose signature, nonce and expiry Authlib has checked."""
        claims = resp.get("userinfo") or {}
        audience = claims.get("aud")
        if claims.get("iss") != ISSUER or CLIENT_ID not in (
            [audience] if isinstance(audience, str) else audience or ()
        ):
            raise ValueError(f"{provider}: expected a token of {ISSUER} for {CLIENT_ID}, found one of or for another")
        name, groups = claims.get(USERNAME_CLAIM), claims.get(ROLE_CLAIM)
        if not isinstance(name, str) or not re.fullmatch(r"[\w.@+-]{1,64}", name):
            raise ValueError(f"{provider}: expected a name of up to 64 letters in {USERNAME_CLAIM}, found another form")
        return {
            "username": f"{BEGINNING}{name}",
            "first_name": name,
            "last_name": "-",
            # An address from outside could be the one of another account.
            "email": f"{BEGINNING}{name}@localhost",
            "role_keys": [group for group in groups if isinstance(group, str)] if isinstance(groups, list) else [],
        }

    def auth_user_oauth(self, userinfo: dict[str, Any], rotate_session_id: bool = True) -> Any:
        """Refuses a person without a mapped group, whose roles of before end."""
        if self.get_roles_from_keys(userinfo["role_keys"]):
            return super().auth_user_oauth(userinfo, rotate_session_id)
        user = self.find_user(username=userinfo["username"])
        if user is not None:
            user.roles = []
            self.update_user(user)
            self.reset_user_sessions(user)
        return None

    def _oauth_calculate_user_roles(self, userinfo: dict[str, Any]) -> list[Any]:
        """Airflow would add a role that everybody gets."""
        return list(self.get_roles_from_keys(userinfo["role_keys"]))


def _read_roles(text: str) -> dict[str, list[str]]:
    """Reads `group=role` pairs, separated by commas."""
    pairs = [pair.strip().rpartition("=") for pair in text.split(",") if pair.strip()]
    if not pairs or any(role not in ROLES or not group for group, _, role in pairs):
        raise ValueError(f"OIDC_ROLES: expected group=role pairs with {', '.join(ROLES)}, found {text!r}")
    return {group: [ROLES[role]] for group, _, role in pairs}


def _describe_issuer() -> dict[str, Any]:
    parts = urlsplit(ISSUER)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise ValueError(f"OIDC_ISSUER: expected an address with https, found {ISSUER!r}")
    if not CLIENT_ID or not CLIENT_SECRET:
        raise ValueError("OIDC_ISSUER is set: expected OIDC_CLIENT_ID and OIDC_CLIENT_SECRET as well, found one empty")
    remote = {
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "server_metadata_url": f"{ISSUER.rstrip('/')}/.well-known/openid-configuration",
        "client_kwargs": {
            "scope": os.environ.get("OIDC_SCOPE") or "openid profile email",
            "code_challenge_method": "S256",
        },
    }
    return {"name": "oidc", "icon": "fa-key", "token_key": "access_token", "remote_app": remote}


if ISSUER:
    SECURITY_MANAGER_CLASS = SecurityManager
    OAUTH_PROVIDERS = [_describe_issuer()]
    AUTH_ROLES_MAPPING = _read_roles(os.environ.get("OIDC_ROLES", ""))

if IS_BEHIND_TLS:
    # The issuer sends people back to the address that the proxy names, and the limit of tries sees its clients.
    os.environ["AIRFLOW__FAB__ENABLE_PROXY_FIX"] = "True"
