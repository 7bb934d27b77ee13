"""Reading a company file."""

import tomllib
from pathlib import Path

from pydantic import ValidationError

from infra.company.company import Company
from infra.company.folder import company_file, open_folder
from rapport_feast.errors import Rejected


def load_company(path: Path) -> Company:
    """Read a company: its folder, or the company file in it.

    Raises
    ------
    Rejected
        There is no company file, it is no TOML, or a key is missing, unknown or of the wrong kind; or a folder of
        declarations holds a file of another kind.
    """
    path = company_file(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Rejected(f"company file {path.name}", "valid TOML", str(error)) from None
    try:
        return Company.model_validate(content).lie_in(open_folder(path.resolve().parent))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Rejected(f"company file {path.name}, {where}", "a valid entry", first["msg"]) from None
