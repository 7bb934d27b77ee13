"""The links of a lake: every one is read where the step that made it noted it; there is no second store."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from features.catalogue import catalogue_of
from features.compute.identity import LINKS
from features.declare.group import Group
from features.inspect.versions import GroupVersion, group_versions, model_state
from infra.clock import Nights
from infra.company.source import Source
from infra.lake.commit import Commit
from infra.models.bundle import versions
from infra.models.manifest import Manifest
from infra.models.registry import registered_name
from infra.workspace import Workspace
from rapport.lineage.nodes import SETS, FileArrival, Node
from rapport_feast.errors import Rejected


@dataclass(frozen=True)
class Links:
    """The links of a company's lake."""

    ws: Workspace

    @cached_property
    def views(self) -> dict[str, GroupVersion]:
        """Every view in the lake."""
        return group_versions(self.ws)

    @cached_property
    def groups(self) -> dict[str, Group]:
        """The catalogue's groups by their current views."""
        return {group.view: group for group in catalogue_of(self.ws.company).groups}

    @cached_property
    def sources(self) -> dict[str, Source]:
        """The company's sources by name."""
        return {source.name: source for source in self.ws.company.sources}

    @cached_property
    def manifests(self) -> list[Manifest]:
        """Every published version of every model."""
        return versions(self.ws)

    @cached_property
    def sets(self) -> list[tuple[str, date, Commit]]:
        """Every training set: its model, its night, and the commit that wrote it."""
        found: dict[tuple[str, date], Commit] = {}
        for table in self.ws.lake.tables():
            if table.startswith(SETS):
                for commit in self.ws.lake.commits(table):
                    found.setdefault((table.removeprefix(SETS), commit.nights.last), commit)
        return [(model, night, commit) for (model, night), commit in sorted(found.items(), key=lambda one: one[0])]

    def fact_of(self, view: str) -> str:
        """Return the fact that a view reads; by the commits, where the catalogue does not know the view any more."""
        if view in self.groups:
            return self.groups[view].fact
        return str(self.views[view].definition.get("fact", "")) if view in self.views else ""

    def facts_of(self, view: str) -> list[str]:
        """Return all facts that a view depends on, the links that say who is who among them."""
        group = self.groups.get(view)
        details = (
            group.entity.name if group else self.views[view].definition.get("entity") if view in self.views else ""
        )
        linked = details == "customer" and self.ws.lake.exists(f"silver/{LINKS}")
        return [self.fact_of(view), *([LINKS] if linked else [])]

    # What was noted where.

    def arrived(self, fact: str, first: date | None = None, last: date | None = None) -> Iterator[FileArrival]:
        """Yield every file of a fact with the account of each night, newest first; the newest run of a night counts."""
        seen: set[date] = set()
        for commit in self.ws.lake.commits(f"silver/{fact}"):
            accounts = (commit.notes or {}).get("nights", {})
            for night in sorted(set(commit.nights) - seen, reverse=True):
                seen.add(night)
                if (first and night < first) or (last and night > last):
                    continue
                for name, files in accounts.get(str(night), {}).items():
                    # A source that left the company file since has no name here any more.
                    if name in self.sources:
                        digests = self._digests(name)
                        yield from (
                            FileArrival(self.sources[name], file, night, account, commit.run, digests.get(file))
                            for file, account in files.items()
                        )

    def files_named(self, name: str) -> list[FileArrival]:
        """Return a file, as ``source/file`` or by its own name, in every night that let rows of it in."""
        source, _, file = name.partition("/")
        facts = dict.fromkeys(one.fact for one in self.sources.values())
        every = [one for fact in facts for one in self.arrived(fact)]
        found = [one for one in every if one.source.name == source and one.file == file]
        return found or [one for one in every if one.file == name]

    def group_of(self, view: str) -> Group:
        """Return the group of a view that the catalogue still has.

        Raises
        ------
        Rejected
            It has another version now.
        """
        if view not in self.groups:
            remedy = "The facts behind a value can only be named while its definition stands in the catalogue."
            raise Rejected(f"view {view}", "the current version of a group", "an older one", remedy)
        return self.groups[view]

    def set_commit(self, model: str, night: date) -> Commit:
        """Return the commit of a training set."""
        return next(commit for name, one, commit in self.sets if (name, one) == (model, night))

    def digest_of(self, model: str, night: date) -> str:
        """Return the digest of a training set as it stands."""
        return self.ws.lake.digests(f"{SETS}{model}", Nights(night, night)).get(night, "")

    def label_facts(self, commit: Commit) -> tuple[str, ...]:
        """Return the facts that the labels of a training set read."""
        from training.data.labels import labels_of

        label = labels_of(self.ws.company).get((commit.notes or {}).get("label", ""))
        return label.facts if label else ()

    def key_of(self, commit: Commit) -> str:
        """Return the entity's key in a training set."""
        from training.data.labels import labels_of

        return labels_of(self.ws.company)[(commit.notes or {})["label"]].entity.key

    # Nodes.

    def view_node(self, view: str, nights: Nights | None = None) -> Node:
        """Return a view, or a night of it, with the commit that wrote it and the verdict of its suite."""
        one = self.views.get(view)
        if one is None:
            return Node("view", view, summary="not built")
        nights = nights or one.nights
        commit = next((c for c in one.commits if c.nights.first <= nights.last <= c.nights.last), one.commits[0])
        notes = commit.notes or {}
        suite = notes.get("suite", {})
        summary = f"{suite['rules']} rules held over {suite['rows']:,} rows" if suite else ""
        details = {"fact": self.fact_of(view), "silver": notes.get("silver", {}), "inputs": commit.inputs}
        details |= {"suite": suite, "engine": notes.get("engine"), "seconds": notes.get("seconds")}
        return Node("view", view, nights, None, commit.run, summary, details)

    def fact_node(self, fact: str, files: Sequence[FileArrival]) -> Node:
        """Return a fact in the nights in which some files brought rows of it."""
        nights = [one.night for one in files]
        rows = sum(one.account["silver"] for one in files)
        rejected = sum(sum(one.account["reasons"].values()) for one in files)
        runs = ", ".join(sorted({one.run for one in files if one.run}))
        summary = f"{rejected} rows in quarantine" if rejected else "none rejected"
        return Node("fact", f"silver/{fact}", Nights(min(nights), max(nights)) if nights else None, rows, runs, summary)

    def source_node(self, source: Source, files: Sequence[FileArrival]) -> Node:
        """Return a source with the nights and rows that it delivered."""
        nights = [one.night for one in files]
        rows = sum(one.account["silver"] for one in files)
        commits = self.ws.lake.commits(f"bronze/{source.name}")
        run = commits[0].run if commits else ""
        details = {"fact": source.fact, "adapter": source.adapter, "path": source.path}
        return Node("source", source.name, Nights(min(nights), max(nights)) if nights else None, rows, run, "", details)

    def set_node(self, model: str, night: date, commit: Commit, rows: int | None = None, summary: str = "") -> Node:
        """Return a training set."""
        notes = commit.notes or {}
        details = {
            "digest": self.digest_of(model, night),
            "label": notes.get("label"),
            "features": notes.get("features"),
        }
        summary = summary or f"label {notes.get('label')}, {len(notes.get('features', []))} features"
        return Node("training set", f"{SETS}{model}", Nights(night, night), rows, commit.run, summary, details)

    def model_node(self, manifest: Manifest) -> Node:
        """Return a version of a model, with its run in MLflow."""
        night = date.fromisoformat(manifest.night)
        state = model_state(self.ws, manifest)
        details = {
            "version": manifest.version,
            "state": state,
            "mlflow_run": manifest.run_id,
            "mlflow_name": registered_name(self.ws, manifest.name),
            "dataset_digest": manifest.dataset_digest,
        }
        summary = f"{state}, {manifest.metric} {manifest.value:.4g}"
        return Node(
            "model",
            f"{manifest.name}/{manifest.version}",
            Nights(night, night),
            None,
            manifest.run_id,
            summary,
            details,
        )

    def _digests(self, source: str) -> dict[str, str]:
        """Return file = SHA-256 of its bytes, as bronze noted it."""
        known = self._noted
        if source not in known:
            found: dict[str, str] = {}
            for commit in reversed(self.ws.lake.commits(f"bronze/{source}")):
                found |= {file: noted[2] for file, noted in (commit.notes or {}).get("files", {}).items()}
            known[source] = found
        return known[source]

    @cached_property
    def _noted(self) -> dict[str, dict[str, str]]:
        return {}
