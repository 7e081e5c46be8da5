"""What an installation is before anybody has configured more than he must."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import pytest
from argon2 import PasswordHasher, Type, extract_parameters
from sqlalchemy import text

from latchgate.app import open_world
from latchgate.config import Settings
from latchgate.config.settings import EmbeddedSettings, ServerSettings
from latchgate.server import Health, _config
from tests.cli.doctor.examining import certificate
from tests.support.management import EMAIL, PASSWORD, running_management

pytestmark = pytest.mark.anyio
_HASH = text("SELECT password_hash FROM users")


async def test_a_new_installation_has_no_user(tmp_path: Path) -> None:
    async with running_management(tmp_path) as management:
        counted = text("SELECT count(*) FROM users")
        store = management.world.store
        assert await store.read(lambda conn: conn.execute(counted).scalar()) == 0


async def test_passwords_are_hashed_with_argon2id_of_the_documented_cost(tmp_path: Path) -> None:
    async with running_management(tmp_path) as management:
        await management.signed_up()
        kept = await management.world.store.read(lambda conn: conn.execute(_HASH).scalar_one())
        terms = extract_parameters(kept)
        assert (terms.type, terms.memory_cost, terms.time_cost) == (Type.ID, 64 * 1024, 3)
        assert (terms.salt_len, terms.hash_len) == (16, 32)


async def test_a_hash_of_older_terms_is_made_anew_at_the_next_login(tmp_path: Path) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=8192).hash(PASSWORD)
    async with running_management(tmp_path) as management:
        await management.signed_up()
        store, change = management.world.store, text("UPDATE users SET password_hash = :hash")
        await store.write(lambda conn: conn.execute(change, {"hash": weak}))
        session = {"email": EMAIL, "password": PASSWORD}
        assert (await management.browser().post("/api/session", json=session)).status_code == 200
        kept = await store.read(lambda conn: conn.execute(_HASH).scalar_one())
        assert extract_parameters(kept).memory_cost == 64 * 1024


async def test_the_servers_own_tls_begins_at_1_2(tmp_path: Path) -> None:
    certificate(tmp_path, dt.timedelta(days=90))
    server = ServerSettings(
        tls_certificate=str(tmp_path / "chain.pem"), tls_key=str(tmp_path / "key.pem")
    )
    settings = Settings(
        data_dir=tmp_path / "data", server=server, embedded=EmbeddedSettings(enabled=False)
    )
    world = await open_world(settings, serving=True)
    try:
        config = _config(world, Health())
        config.load()
        assert config.ssl is not None
        assert config.ssl.minimum_version >= ssl.TLSVersion.TLSv1_2
        weak = {"RC4", "3DES", "DES-", "NULL", "EXPORT", "MD5", "aNULL"}
        names = [str(cipher["name"]) for cipher in config.ssl.get_ciphers()]
        assert not [name for name in names if any(word in name for word in weak)]
    finally:
        await world.close()
