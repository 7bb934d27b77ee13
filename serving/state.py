"""What the service serves at a moment: the views, the champions and the online store, watched once a second.

Publishing and training replace files; a new champion that cannot be trusted is refused and the old one stays.
"""

import asyncio
from contextlib import ExitStack
from pathlib import Path

from infra.errors import RapportError, Transient
from infra.online import OnlineStore, online_store
from infra.workspace import Workspace
from serving.lookup import OnlineReader
from serving.models import CHAMPION_FILE, Model, champion_of, load_model
from serving.schema import Ready
from serving.views import VIEWS_FILE, Views, load_views

WATCH_SECONDS = 1.0
Stamp = tuple[int, int, int] | None


class Shelf:
    """The views and models last read from their files; each file is read again when it changes."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws
        self.views: Views | None = None
        self.views_fault = ""
        self.models: dict[str, Model] = {}
        self.refused: dict[str, str] = {}
        self._stamps: dict[Path, Stamp] = {}

    def refresh_views(self) -> None:
        """Read the views again if their file changed; faulty ones leave the old ones in place."""
        folder = self.ws.folder("feast")
        if not self._changed(folder / VIEWS_FILE):
            return
        try:
            self.views, self.views_fault = load_views(folder), ""
        except (RapportError, OSError) as error:
            self.views_fault = str(error)

    def refresh_models(self) -> None:
        """Load the champions that changed; one that is refused leaves the old one in place."""
        folders = {path.name: path for path in sorted(self.ws.folder("models").iterdir()) if path.is_dir()}
        for name in {*folders, *self.models}:
            folder = self.ws.folder("models") / name
            if self._changed(folder / CHAMPION_FILE):
                self._refresh(name, folder)

    def _refresh(self, name: str, folder: Path) -> None:
        self.refused.pop(name, None)
        try:
            champion = champion_of(folder)
            if champion is None:
                self.models = {other: model for other, model in self.models.items() if other != name}
            elif name not in self.models or self.models[name].digest != champion.digest:
                self.models = self.models | {name: load_model(folder, champion)}
        except (RapportError, OSError) as error:
            self.refused[name] = str(error)

    def _changed(self, path: Path) -> bool:
        """Say whether a file is another than last time; the first time it always is."""
        try:
            status = path.stat()
            stamp: Stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        except FileNotFoundError:
            stamp = None
        if path in self._stamps and self._stamps[path] == stamp:
            return False
        self._stamps[path] = stamp
        return True


class State:
    """The shelf and the online store, kept up by a task of the running event loop."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws
        self.shelf = Shelf(ws)
        self.loaded = False
        self.reachable = False
        self.store_fault = ""
        self._reader: OnlineReader | None = None
        self._held = ExitStack()
        self._stop = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to load and to watch; requests are answered meanwhile."""
        self._watch = asyncio.create_task(self._keep_up())

    async def close(self) -> None:
        """Stop watching and leave the online store."""
        self._stop.set()
        if self._watch is not None:
            await self._watch
        if self._reader is not None:
            await self._reader.close()
        await asyncio.to_thread(self._held.close)

    @property
    def reader(self) -> OnlineReader:
        """The reader of the online store.

        Raises
        ------
        Transient
            The store was not reached yet.
        """
        if self._reader is None:
            raise Transient(self.store_fault or "The service is still looking for the online store.")
        return self._reader

    @property
    def views(self) -> Views:
        """The published views.

        Raises
        ------
        Transient
            They are not read yet, or nothing was published yet.
        """
        if self.shelf.views is None:
            raise Transient(self.shelf.views_fault or "The service is still reading the published views.")
        return self.shelf.views

    @property
    def models(self) -> dict[str, Model]:
        """The champions that are served.

        Raises
        ------
        Transient
            They are still loading.
        """
        if not self.loaded:
            raise Transient("The service is still loading its models.")
        return self.shelf.models

    async def report(self) -> Ready:
        """Return what is served, and why not if something is not."""
        self.reachable = self._reader is not None and await self._reader.answers()
        store = self._reader.store if self._reader else None
        served = self.shelf.models.values()
        problem = self._problem()
        return {
            "ready": problem is None,
            "problem": problem,
            "models": {
                m.manifest.name: {"version": m.manifest.version, "digest": m.digest, "night": m.manifest.night}
                for m in served
            },
            "refused": dict(self.shelf.refused),
            "views": list(self.shelf.views.by_name) if self.shelf.views else [],
            "online": {"reachable": self.reachable, "address": f"{store.host}:{store.port}" if store else None},
        }

    def _problem(self) -> str | None:
        if self._watch is not None and self._watch.done():
            return "The service no longer follows its files; restart it."
        if not self.loaded:
            return "The service is still loading."
        if self.shelf.views is None:
            return self.shelf.views_fault
        return None if self.reachable else self.store_fault or "The online store does not answer."

    async def _keep_up(self) -> None:
        while not self._stop.is_set():
            await self._join_if_silent()
            await asyncio.to_thread(self.shelf.refresh_views)
            await asyncio.to_thread(self.shelf.refresh_models)
            self.loaded = True
            try:
                await asyncio.wait_for(self._stop.wait(), WATCH_SECONDS)
            except TimeoutError:
                continue

    async def _join_if_silent(self) -> None:
        """Join the store again if it does not answer: an embedded one that was killed is started by that."""
        if self._reader is not None and await self._reader.answers():
            return
        try:
            store = await asyncio.to_thread(self._join)
        except RapportError as error:
            self.store_fault = str(error)
            return
        self.store_fault = ""
        if self._reader is None or self._reader.store != store:
            former, self._reader = self._reader, OnlineReader(store)
            if former is not None:
                await former.close()

    def _join(self) -> OnlineStore:
        fresh = ExitStack()
        store = fresh.enter_context(online_store(self.ws))
        self._held, former = fresh, self._held
        former.close()
        return store
