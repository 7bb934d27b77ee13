"""A bundle is a published version: a folder of data-only files and a manifest, every digest checked when it is read.

``<models>/<name>/<version>/manifest.json`` names every file with its digest, ``<models>/<name>/champion.json`` says
which version serves and names the manifest's digest. Training writes them; serving, drift and status read them.
"""

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.models.errors import DigestDiffers, ModelMalformed, ModelUnreadable, VersionExists, WrongVersion
from infra.models.manifest import Manifest
from infra.state_files import digest_of
from infra.workspace import Workspace

MANIFEST = "manifest.json"
CHAMPION = "champion.json"
STATUS = "status.json"
LAST = "last.json"
"""Which version was trained last, at which night and from which inputs."""
Form = TypeVar("Form", bound=BaseModel)


class Champion(BaseModel):
    """What ``champion.json`` says: which version serves, and the digest of its manifest."""

    model_config = ConfigDict(frozen=True)

    version: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")

    @classmethod
    def of(cls, folder: Path) -> Self | None:
        """Read which version of a model serves, from the model's folder; None if none does.

        Raises
        ------
        ModelMalformed
            ``champion.json`` is not in the form that training writes.
        """
        try:
            return _parse(cls, folder / CHAMPION, (folder / CHAMPION).read_bytes())
        except FileNotFoundError:
            return None


@dataclass(frozen=True)
class Bundle:
    """A version as it was read, all digests checked.

    Attributes
    ----------
    digest
        SHA-256 of the manifest.
    contents
        File name = content.
    """

    manifest: Manifest
    digest: str
    contents: dict[str, bytes]


def read_bundle(folder: Path, champion: Champion) -> Bundle:
    """Read the version that serves, from a model's folder.

    Raises
    ------
    ModelUnreadable, DigestDiffers
        A file cannot be read, or is not the one that was published.
    ModelMalformed, WrongVersion
        The manifest is not in the form that training writes, or is another version's.
    """
    home = folder / champion.version
    manifest = _parse(Manifest, home / MANIFEST, _checked(home, MANIFEST, champion.digest))
    if (manifest.name, manifest.version) != (folder.name, champion.version):
        raise WrongVersion(
            f"{folder.name}/{champion.version} holds {manifest.name} version {manifest.version} instead."
        )
    contents = {name: _checked(home, name, digest) for name, digest in manifest.files.items()}
    return Bundle(manifest, champion.digest, contents)


def champion(ws: Workspace, name: str) -> Manifest | None:
    """Return the manifest of the version that serves, all digests checked; None if no version does."""
    folder = ws.folder("models") / name
    chosen = Champion.of(folder)
    return read_bundle(folder, chosen).manifest if chosen else None


def published(ws: Workspace, name: str, version: str) -> Manifest:
    """Return the manifest of a published version.

    Raises
    ------
    ModelUnreadable, ModelMalformed
        There is none, or it is not in the form that training writes.
    """
    home = version_folder(ws, name, version)
    return _parse(Manifest, home / MANIFEST, _read(home, MANIFEST))


def versions(ws: Workspace) -> list[Manifest]:
    """Return the manifests of every published version of every model, oldest first."""
    paths = sorted(ws.folder("models").glob(f"*/*/{MANIFEST}"), key=lambda path: (path.parts[-3], int(path.parts[-2])))
    return [published(ws, path.parts[-3], path.parts[-2]) for path in paths]


def version_folder(ws: Workspace, name: str, version: str) -> Path:
    """Return the folder of a published version."""
    return ws.folder("models") / name / version


def publish_version(ws: Workspace, manifest: Manifest, folder: Path) -> str:
    """Publish a version's files and manifest as one folder, whole or not at all.

    Parameters
    ----------
    folder
        Where the files of the manifest lie now.

    Returns
    -------
    str
        Digest of the manifest.

    Raises
    ------
    VersionExists
        The version is there already.
    ModelUnreadable, DigestDiffers
        A file is not the one that the manifest names.
    """
    home = ws.folder("models") / manifest.name
    home.mkdir(exist_ok=True)
    target = home / manifest.version
    if target.exists():
        raise VersionExists(f"Model {manifest.name} version {manifest.version} is published already.")
    staged = Path(tempfile.mkdtemp(prefix=".staged-", dir=home))
    for name, digest in manifest.files.items():
        shutil.copyfile(folder / name, staged / name)
        _checked(staged, name, digest)
    (staged / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
    # mkdtemp makes a folder for its owner alone; the service may run as somebody else.
    staged.chmod(0o755)
    staged.rename(target)
    return digest_of(target / MANIFEST)


def _read(home: Path, name: str) -> bytes:
    if Path(name).name != name:
        raise ModelUnreadable(f"{_where(home, name)}: a model's files stand in its own folder only.")
    try:
        return (home / name).read_bytes()
    except OSError as error:
        raise ModelUnreadable(f"{_where(home, name)} cannot be read ({error.strerror}).") from error


def _checked(home: Path, name: str, digest: str) -> bytes:
    """Return the content of a file; the digest is that of the very bytes that are used."""
    content = _read(home, name)
    if hashlib.sha256(content).hexdigest() != digest:
        raise DigestDiffers(f"{_where(home, name)} is not the file that was published: its SHA-256 differs.")
    return content


def _where(home: Path, name: str) -> str:
    return f"{home.parent.name}/{home.name}/{name}"


def _parse(form: type[Form], path: Path, content: bytes) -> Form:
    try:
        return form.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = "/".join(path.parts[-2:] if path.name == CHAMPION else path.parts[-3:])
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise ModelMalformed(where, "what training writes", what) from None
