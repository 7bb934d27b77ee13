"""Reading a company file."""

import tomllib
from pathlib import Path

from pydantic import ValidationError

from infra.company.company import Company
from rapport_feast.errors import Rejected


def load_company(path: Path) -> Company:
    """Read a company file.

    Raises
    ------
    Rejected
        There is no such file, it is no TOML, or a key is missing, unknown or of the wrong kind.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Rejected(
            "company file", "a TOML file", f"nothing at {path}", "Name one with --company or RAPPORT_COMPANY."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise Rejected(f"company file {path.name}", "valid TOML", str(error)) from None
    try:
        return Company.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Rejected(f"company file {path.name}, {where}", "a valid entry", first["msg"]) from None
