"""A published version is a folder of data-only files with digests, which are checked whenever it is read."""

import shutil
import tempfile
from pathlib import Path

from pydantic import ValidationError

from infra.models.manifest import Manifest
from infra.state_files import digest_of, read_json
from infra.workspace import Workspace
from rapport_feast.errors import Terminal

MANIFEST = "manifest.json"
CHAMPION = "champion.json"
STATUS = "status.json"


def publish_version(ws: Workspace, manifest: Manifest, folder: Path) -> str:
    """Publish a version's files and manifest as one folder, whole or not at all.

    Returns
    -------
    str
        Digest of the manifest.

    Raises
    ------
    Terminal
        The version is there already, or a file differs from its digest in the manifest.
    """
    home = ws.folder("models") / manifest.name
    home.mkdir(exist_ok=True)
    target = home / manifest.version
    if target.exists():
        raise Terminal(f"Model {manifest.name} version {manifest.version} is published already.")
    staged = Path(tempfile.mkdtemp(prefix=".staged-", dir=home))
    for name, digest in manifest.files.items():
        shutil.copyfile(folder / name, staged / name)
        _refuse_changed(staged / name, digest)
    (staged / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
    staged.chmod(0o755)
    staged.rename(target)
    return digest_of(target / MANIFEST)


def champion(ws: Workspace, name: str) -> Manifest | None:
    """Return the manifest of the version that serves, all digests checked; None if no version does.

    Raises
    ------
    Terminal
        A file is not the one that was published.
    """
    chosen = read_json(ws.folder("models") / name / CHAMPION)
    if chosen is None:
        return None
    folder = version_folder(ws, name, chosen["version"])
    _refuse_changed(folder / MANIFEST, chosen["digest"])
    found = published(ws, name, chosen["version"])
    for file, digest in found.files.items():
        _refuse_changed(folder / file, digest)
    return found


def published(ws: Workspace, name: str, version: str) -> Manifest:
    """Return the manifest of a published version.

    Raises
    ------
    Terminal
        It is not in the form of a manifest.
    """
    try:
        return Manifest.model_validate_json((version_folder(ws, name, version) / MANIFEST).read_bytes())
    except ValidationError as error:
        raise Terminal(
            f"The manifest of {name} version {version} cannot be read: {error.errors()[0]['msg']}."
        ) from None


def versions(ws: Workspace) -> list[Manifest]:
    """Return the manifests of every published version of every model, oldest first."""
    found = sorted(
        (ws.folder("models")).glob(f"*/*/{MANIFEST}"), key=lambda path: (path.parts[-3], int(path.parts[-2]))
    )
    return [published(ws, path.parts[-3], path.parts[-2]) for path in found]


def version_folder(ws: Workspace, name: str, version: str) -> Path:
    """Return the folder of a published version."""
    return ws.folder("models") / name / version


def _refuse_changed(path: Path, digest: str) -> None:
    if not path.exists() or digest_of(path) != digest:
        raise Terminal(f"{path.parent.parent.name}/{path.parent.name}/{path.name} is not the file that was published.")
