"""Promise: a configuration gets another catalogue, and every other word of it stays."""

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from n2s_core.app.config_text import with_catalogue, write_text
from n2s_core.errors import ConfigError

TEXTS = (
    "",
    "[store]\nurl = 'x'\n",
    "[store]\nurl = 'x' # no newline at the end",
    "[catalogue]\n",
    "[catalogue]\nurl = 'old'\n[store]\nurl = 'x'\n",
    "[catalogue]\n# url = 'not this'\n  url='old' # but this\n\n[store]\nurl = 'x'\n",
    "[ catalogue ] # ours\r\nurl = 'old'\r\n[store]\r\nurl = 'x'\r\n",
    "[store]\nurl = 'x'\n[store.flags]\na = 'b'\n[[store.remotes]]\nurl = 'y'\n[catalogue]\n",
    "# [catalogue]\n# url = 'x'\n[store]\nnote = 'a\u2028[catalogue]'\n",
)
NOT_EDITED = (
    "catalogue = { url = 'old' }\n",
    "catalogue.url = 'old'\n",
    '[catalogue]\nurl = """\nold"""\n',
    '[store]\nnote = """\n[catalogue]\nurl = \'in a text\'\n"""\n',
)


@pytest.mark.parametrize("text", TEXTS)
@given(url=st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), min_size=1))
def test_another_catalogue_and_all_else_as_it_was(text: str, url: str) -> None:
    made = with_catalogue(text, url)
    wanted = tomllib.loads(text)
    wanted["catalogue"] = {"url": url}
    assert tomllib.loads(made) == wanted
    others = [
        line for line in text.splitlines() if line.startswith(("#", "[")) and "ours" not in line
    ]
    assert all(line in made for line in others)
    assert with_catalogue(made, url) == made


@pytest.mark.parametrize("text", NOT_EDITED)
def test_what_cannot_be_edited_is_left_to_the_user(text: str) -> None:
    with pytest.raises(ConfigError, match=r'Write this .*: url = "new"'):
        with_catalogue(text, "new")


def test_an_address_that_is_no_text_is_left_to_the_user() -> None:
    with pytest.raises(ConfigError, match="Write this"):
        with_catalogue("", "\udcff.db")


def test_a_link_stays_a_link_and_a_mode_stays(tmp_path: Path) -> None:
    (tmp_path / "real.toml").write_text("old")
    (tmp_path / "real.toml").chmod(0o640)
    (tmp_path / "link.toml").symlink_to("real.toml")
    write_text(tmp_path / "link.toml", "new")
    assert os.readlink(tmp_path / "link.toml") == "real.toml"
    assert (tmp_path / "real.toml").read_text() == "new"
    assert (tmp_path / "real.toml").stat().st_mode & 0o777 == 0o640
    assert len(list(tmp_path.iterdir())) == 2
