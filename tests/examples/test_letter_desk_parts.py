"""Letter desk's parts that need neither a browser nor Latchgate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from letter_desk.drafting import ABOUT_CHARS_MAX, Wish
from letter_desk.sealing import KEPT_FOR_S, Sealer, load_sealer
from letter_desk.troubles import Trouble

KEY = "sk-lg-" + "A" * 50
WISH = {"about": "Say hello.", "tone": "formal", "length": "short", "draft": "", "change": ""}


def test_a_sealed_key_is_opened_by_the_same_seal_alone(tmp_path: Path) -> None:
    sealed = load_sealer(tmp_path).seal(KEY)
    assert KEY not in sealed
    assert load_sealer(tmp_path).open(sealed) == KEY
    assert load_sealer(tmp_path / "other").open(sealed) is None
    assert load_sealer(tmp_path).open(sealed[:-4] + "AAAA") is None
    assert load_sealer(tmp_path).open("") is None


def test_the_seal_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    load_sealer(tmp_path)
    assert (tmp_path / "letter-desk.seal").stat().st_mode & 0o777 == 0o600


def test_a_sealed_key_ends_after_thirty_days() -> None:
    seal = Fernet.generate_key()
    now_s = 1_800_000_000
    fresh = Fernet(seal).encrypt_at_time(KEY.encode(), now_s).decode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time", lambda: now_s + KEPT_FOR_S - 1)
        assert Sealer(seal).open(fresh) == KEY
        patch.setattr("time.time", lambda: now_s + KEPT_FOR_S + 1)
        assert Sealer(seal).open(fresh) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("about", ""),
        ("about", "   "),
        ("about", "x" * (ABOUT_CHARS_MAX + 1)),
        ("about", 7),
        ("tone", "angry"),
        ("tone", None),
        ("length", ["short"]),
        ("draft", {}),
        ("change", "x" * 501),
    ],
)
def test_a_wish_that_can_not_be_written_names_its_field(field: str, value: Any) -> None:
    with pytest.raises(Trouble) as refused:
        Wish.from_json({**WISH, field: value})
    assert (refused.value.field, refused.value.status) == (field, 400)


def test_a_body_that_is_no_object_is_a_trouble_and_not_a_crash() -> None:
    for body in ([], "x", None, 7):
        with pytest.raises(Trouble):
            Wish.from_json(body)


def test_a_change_shows_the_model_the_draft_as_the_user_left_it() -> None:
    wish = Wish.from_json({**WISH, "draft": "Hello Tom, my way.", "change": "Add the wine."})
    roles = [message["role"] for message in wish.messages()]
    assert roles == ["system", "user", "assistant", "user"]
    assert wish.messages()[2].get("content") == "Hello Tom, my way."
    assert "Add the wine." in str(wish.messages()[3].get("content"))
