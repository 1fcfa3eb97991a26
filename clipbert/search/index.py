# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
An index over a collection of videos.

    index = VideoIndex.create("my_index", root="videos", encoder="user/mug-stan", reranker="user/clipbert")
    index.add()                                         # new videos are encoded, each once
    hits = index.search("a dog catches a ball", top_k=10)
"""

import inspect
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from clipbert.processing.option_checks import refuse_unknown_options
from clipbert.search import rows, upkeep
from clipbert.search.cascade import Candidates, Cascade, Source, check_complete
from clipbert.search.files import Changes, KnownFile, absence, compare, resolve, scan
from clipbert.search.filters import Filter, check, field
from clipbert.search.hits import SearchHits, VideoHit, best_span, list_clips
from clipbert.search.metadata import CAPTION, CAPTIONS
from clipbert.search.protocols import (
    Encoder,
    FingerprintError,
    Locator,
    Reranker,
    SearchIndexError,
    Span,
    VideoStore,
    keeps,
)
from clipbert.search.reports import IndexReport
from clipbert.search.settings import SETTING, IndexSettings, ModelSettings
from clipbert.support.names import did_you_mean


if TYPE_CHECKING:  # what is heavy, and few need
    from clipbert.search.distilled import DistillationReport
    from clipbert.search.shortlists import ShortlistReport, TextRanking

SHORTLIST = 200  # videos that are scored exactly
RERANK = 50  # of these, that a reranker scores, too
ROLES = {"encoder": Encoder, "reranker": Reranker, "locator": Locator}
HEADS = "heads"  # the setting that distillation leaves
TIMED = 20  # sentences whose searches are timed
SAMPLE_BYTES, MIN_SAMPLE = 2**30, 200  # of the videos that heads learn from
OF_HITS = ("start_s", "end_s", "duration_s")  # facts
# Segments of a long video in which a moment may be: what finds segments is coarser than what finds moments.
LOOK_INTO = 5
LOOK_AROUND = 0.5  # of a segment's length, in which a moment may begin before it and end behind it


class VideoIndex:
    """
    Videos of a collection as rows of segments, to be searched by sentences, videos, images or vectors.

    Made by [`VideoIndex.create`], and opened by [`VideoIndex.open`]. Models are loaded when they are needed.

    Args:
        store ([`VideoStore`]): The rows.
        settings ([`IndexSettings`]): How the index was made.
        models (`dict`): Models by `"encoder"`, `"reranker"`, `"locator"`: names, or models that are loaded; else those of the settings.
        device (`str`, *optional*): Where models run; an accelerator if there is one.
    """

    def __init__(
        self,
        store: VideoStore,
        settings: IndexSettings,
        models: Mapping[str, Any] | None = None,
        device: str | None = None,
    ):
        self.store, self.settings, self.device = store, settings, device
        self._given = {name: model for name, model in (models or {}).items() if model is not None}

    # Making and opening --------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        uri: str | os.PathLike,
        root: str | os.PathLike,
        encoder: Any = None,
        reranker: Any = None,
        locator: Any = None,
        *,
        segment_s: float | None = 60.0,
        dtype: str = "float32",
        keep_clips: bool = True,
        follow_links: bool = False,
        overwrite: bool = False,
        device: str | None = None,
        encoder_options: Mapping[str, Any] | None = None,
        reranker_options: Mapping[str, Any] | None = None,
        **storage_options: Any,
    ) -> "VideoIndex":
        """
        Make an empty index.

        Args:
            uri (`str` or `os.PathLike`): Where: a folder, `s3://...`, `gs://...`, `az://...`, `db://...`, or `qdrant:FOLDER`.
            root (`str` or `os.PathLike`): The folder below which the videos lie, or its address for `fsspec`.
            encoder (*optional*): What makes vectors: a checkpoint of a Mug-STAN, or a CLIP, SigLIP or X-CLIP. A ClipBERT, which has none, is
                taken for the reranker.
            reranker (*optional*): What orders the shortlist: a checkpoint of a ClipBERT, or another model that matches.
            locator (*optional*): What finds the seconds of a sentence: a checkpoint of a CI-MHA.
            segment_s (`float`, *optional*, defaults to 60.0): Longest part of a video that gets a row; `None`: every video gets one.
            dtype (`str`, *optional*, defaults to `"float32"`): Of what is kept for exact scores. `"float16"` needs half of the disk, and
                changes scores in the third digit.
            keep_clips (`bool`, *optional*, defaults to `True`): Whether what the reranker makes of videos is kept in the index. If not, it
                reads the files of each shortlist.
            follow_links (`bool`, *optional*, defaults to `False`): Whether links that leave the root are followed.
            overwrite (`bool`, *optional*, defaults to `False`): Whether an index of this name is replaced.
            device (`str`, *optional*): Where models run.
            encoder_options, reranker_options (`dict`, *optional*): Options of the models' processors, such as `num_clips`.
            storage_options: Of the object storage, as LanceDB calls them (`aws_endpoint`, ...), or of `QdrantClient`.

        Raises:
            SearchIndexError: If there is no model that can order anything, no such folder, or an index already.
            ImportError: If the store is not installed.
        """
        from clipbert.search.models import load_model, load_models
        from clipbert.search.stores import create_store

        root = _clean_root(root)
        if "://" not in root and not os.path.isdir(root):
            raise SearchIndexError(f"{root}: there is no such folder, of videos.")
        if segment_s is not None and not segment_s > 0:
            raise SearchIndexError(f"segment_s: expected seconds above 0, or None for whole videos, got {segment_s}.")
        if dtype not in ("float32", "float16"):
            raise SearchIndexError(f"dtype: expected 'float32' or 'float16', got {dtype!r}.")
        if encoder is None and reranker is None:
            raise SearchIndexError("Expected an encoder or a reranker: nothing else can say what fits.")
        if encoder_options:
            encoder = load_model(encoder, device=device, **encoder_options)
        if reranker_options:
            reranker = load_model(reranker, device=device, **reranker_options)
        models = load_models(encoder, reranker, locator, device=device)._asdict()
        is_turned = encoder is not None and models["encoder"] is None  # a ClipBERT
        options = {"encoder": encoder_options, "reranker": encoder_options if is_turned else reranker_options}
        settings = IndexSettings(
            root=root, segment_s=segment_s, dtype=dtype, follow_links=follow_links, keep_clips=keep_clips
        )
        for name, model in models.items():
            if model is not None:
                about = ModelSettings(_clean_model(str(model.name)), model.fingerprint, dict(options.get(name) or {}))
                setattr(settings, name, about)
        kept = models["reranker"] if keep_clips else None
        schema = pa.schema([*rows.FACTS, *rows.model_fields(models["encoder"], kept, dtype)])
        store = create_store(uri, schema, overwrite=overwrite, **storage_options)
        store.write_setting(SETTING, settings.to_bytes())  # last: without it there is no index
        return cls(store, settings, models, device)

    @classmethod
    def open(
        cls,
        uri: str | os.PathLike,
        *,
        root: str | os.PathLike | None = None,
        encoder: Any = None,
        reranker: Any = None,
        locator: Any = None,
        device: str | None = None,
        **storage_options: Any,
    ) -> "VideoIndex":
        """
        Open an index. Nothing in it is code, and nothing of it is run.

        Args:
            uri (`str` or `os.PathLike`): See [`VideoIndex.create`].
            root (`str` or `os.PathLike`, *optional*): Where the videos lie now, if they were moved together.
            encoder, reranker, locator (*optional*): Where the models lie now; another locator may be any. A model that is not the one that
                the index was made with is refused.
            device (`str`, *optional*): Where models run.
            storage_options: Of the object storage, or of Qdrant; as for `create`.

        Raises:
            SearchIndexError: If it is no index, or one of a newer version.
        """
        from clipbert.search.stores import open_store

        store = open_store(uri, **storage_options)
        settings = IndexSettings.from_bytes(store.read_setting(SETTING), str(uri))
        if root is not None:
            settings.root = _clean_root(root)
        return cls(store, settings, {"encoder": encoder, "reranker": reranker, "locator": locator}, device)

    # Models ------------------------------------------------------------------------------------------------------

    @cached_property
    def encoder(self) -> Encoder | None:
        """What makes vectors of texts and videos."""
        return self._load("encoder")

    @cached_property
    def reranker(self) -> Reranker | None:
        """What orders the shortlist."""
        return self._load("reranker")

    @cached_property
    def locator(self) -> Locator | None:
        """What finds the seconds of a sentence."""
        return self._load("locator")

    def _load(self, role: str) -> Any:
        """The model of a role, given or by its name in the settings."""
        made_with: ModelSettings | None = getattr(self.settings, role)
        given = self._given.get(role)
        if made_with is None and (given is None or role != "locator"):
            if given is not None:
                raise SearchIndexError(f"The index was made without {role}: make one with `clipbert index create`.")
            return None
        model = given if keeps(ROLES[role], given) else self._load_named(role, given, made_with)
        if role == "locator":
            return model
        if model.fingerprint != made_with.fingerprint:
            raise FingerprintError(
                f"{model.name} is not the {role} that the index was made with (fingerprint {model.fingerprint[:12]}, expected "
                f"{made_with.fingerprint[:12]} of {made_with.name}): their scores do not belong together. Encode all videos again with "
                f"`clipbert index update {self.store.uri} --reencode --{role} {model.name}`, or open the index with {role}=..."
            )
        return model

    def _load_named(self, role: str, given: Any, made_with: ModelSettings | None) -> Any:
        from clipbert.search import models  # with torch and transformers

        options = {} if made_with is None or role == "locator" else dict(made_with.options)
        load = {"encoder": models.load_encoder, "reranker": models.load_reranker, "locator": models.load_locator}[role]
        try:
            return load(made_with.name if given is None else given, device=self.device, **options)
        except SearchIndexError as error:
            if given is not None:
                raise
            raise SearchIndexError(
                f"{error} The index has this {role}: tell where it lies now: {role}=..., in a shell --{role}."
            ) from error

    @cached_property
    def heads(self) -> Any:
        """What distillation left: an encoder by the clips of the reranker; `None` without one."""
        value = self.store.read_setting(HEADS)
        if value is None:
            return None
        from clipbert.search.distilled import DistilledEncoder

        return DistilledEncoder.from_bytes(value, self.reranker, self.settings.min_first_kept)

    @cached_property
    def cascade(self) -> Cascade:
        """The stages of a search."""
        encoder, reranker = self.encoder, self.reranker
        exact = encoder if keeps(Reranker, encoder) else None
        return Cascade(
            self.store,
            encoder or self.heads,
            None if exact is None else Source(self.store, exact, True, True, self.path_of),
            None if reranker is None else Source(self.store, reranker, False, self.settings.keep_clips, self.path_of),
            [*OF_HITS, *rows.metadata_names(self.store.schema)],
        )

    def path_of(self, video_id: str) -> Any:
        """
        The file of a video.

        Raises:
            SearchIndexError: If the id leads out of the root.
        """
        return resolve(self.settings.root, video_id, self.settings.follow_links)

    # Content -----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Videos in the index."""
        return self.store.count(field("segment") == 0)

    def plan(self, places: Iterable[str | os.PathLike] | None = None) -> tuple[Changes, dict[str, str]]:
        """
        What [`VideoIndex.add`] would do, and the files that it would not look at. Nothing is encoded; new files of a size that is missing
        elsewhere are opened to see whether they were moved.
        """
        ignored: dict[str, str] = {}
        root, follow_links = self.settings.root, self.settings.follow_links
        places = [root] if places is None else list(places)
        found = scan(places, root, follow_links, ignored)
        return compare(found, self._known(), absence(places, root, follow_links, ignored)), ignored

    def _known(self) -> dict[str, KnownFile]:
        """The files that are in the index."""
        columns = ["video_id", "size", "mtime_ns", "digest"]
        known = {}
        for batch in self.store.scan(columns, field("segment") == 0, batch_size=2**14):
            for video, size, mtime, digest in zip(*(batch[name].to_pylist() for name in columns), strict=True):
                known[video] = KnownFile(size, mtime, digest)
        return known

    def bytes_per_segment(self) -> int:
        """Bytes on disk of a row, about."""
        return sum(
            one.type.list_size * one.type.value_type.bit_width // 8
            for one in self.store.schema
            if pa.types.is_fixed_size_list(one.type)
        )

    def add(
        self,
        places: Iterable[str | os.PathLike] | str | os.PathLike | None = None,
        *,
        metadata: Any = None,
        on_error: str = "skip",
        retry_failed: bool = False,
        shard: tuple[int, int] = (0, 1),
        ray_encoders: int | None = None,
        batch_size: int = 1,
        num_workers: int = 0,
        max_decode_error_rate: float = 0.5,
        progress: bool | None = None,
    ) -> IndexReport:
        """
        Encode the videos that are new or have changed.

        A video that was moved keeps its rows. Whoever is interrupted calls it again. Several processes may do so at once.

        Args:
            places (*optional*): Files and folders below the root; by default all of it.
            metadata (*optional*): Columns of your own: a file (`captions.jsonl`, CSV), or a mapping from ids; see `metadata.read_metadata`.
                Where a video has several captions, `caption` is the first one, and `captions` has all.
            on_error (`str`, *optional*, defaults to `"skip"`): What to do with videos that cannot be read: `"skip"` notes why, `"raise"`.
            retry_failed (`bool`, *optional*, defaults to `False`): Whether those that could not be read are tried again, although their files
                are as they were.
            shard (`tuple[int, int]`, *optional*, defaults to `(0, 1)`): Of several processes the number of this one, and how many: each takes
                its own videos.
            ray_encoders (`int`, *optional*): Read and encode on a cluster of Ray, by so many encoders (extra `ray`); this process commits.
            batch_size (`int`, *optional*, defaults to 1): Segments that go through the models at once. More are faster on an accelerator, and
                change scores in their last bits.
            num_workers (`int`, *optional*, defaults to 0): Processes that read videos.
            max_decode_error_rate (`float`, *optional*, defaults to 0.5): More failures end it.
            progress (`bool`, *optional*): Whether to show a bar; by default on a terminal.

        Returns:
            [`IndexReport`].

        Raises:
            SearchIndexError: If a place is outside the root, metadata cannot be read, the disk is too small, or too many videos fail.
            VideoDecodeError: With `on_error="raise"`, of the first video that cannot be read.
            ImportError: If Ray is not installed.
        """
        if isinstance(places, str | os.PathLike):
            places = [places]
        return upkeep.bring_up_to_date(
            self,
            places,
            metadata=metadata,
            on_error=on_error,
            retry_failed=retry_failed,
            prune=False,
            shard=shard,
            ray_encoders=ray_encoders,
            batch_size=batch_size,
            num_workers=num_workers,
            max_decode_error_rate=max_decode_error_rate,
            progress=progress,
        )

    def update(self, *, prune: bool = False, **options: Any) -> IndexReport:
        """
        Bring the index up to the state of the whole collection: as [`VideoIndex.add`], with `prune`.

        Args:
            prune (`bool`, *optional*, defaults to `False`): Whether videos whose files have vanished are deleted from the index; else they are
                reported as `missing`.
            options: Others of [`VideoIndex.add`], but `places`.

        Returns:
            [`IndexReport`].
        """
        given = {**inspect.signature(self.add).parameters, "prune": None}
        refuse_unknown_options(options, [name for name in given if name != "places"], "update")
        defaults = {
            name: one.default for name, one in inspect.signature(self.add).parameters.items() if name != "places"
        }
        return upkeep.bring_up_to_date(self, None, prune=prune, **{**defaults, **options})

    def remove(self, video_ids: str | Iterable[str] | None = None, *, where: Filter | None = None) -> list[str]:
        """
        Delete videos from the index, not from the disk: as long as their files lie in the collection, the next `add` or `update` of all of it
        takes them in again.

        Args:
            video_ids (`str` or `list[str]`, *optional*): Which.
            where (`Filter`, *optional*): Or those of which a segment fits.

        Returns:
            `list[str]`: The ids of those that were there.

        Raises:
            SearchIndexError: If neither or both are given, or a video is not in the index.
        """
        if (video_ids is None) == (where is None):
            raise SearchIndexError("Expected ids of videos, or a filter: one of the two.")
        if where is not None:
            check(where, self.store.schema)
            batches = self.store.scan(["video_id"], where)
            videos = sorted({video for batch in batches for video in batch["video_id"].to_pylist()})
        else:
            videos = [video_ids] if isinstance(video_ids, str) else list(video_ids)
            known = set(upkeep.all_videos(self))
            if unknown := [video for video in videos if video not in known]:
                raise SearchIndexError(
                    f"There is no video {unknown[0]!r} in the index. {did_you_mean(unknown[0], known)}"
                )
        self.store.delete(videos)
        return videos

    def verify(self) -> list[str]:
        """
        Read everything, and compare it with what was written.

        Returns:
            `list[str]`: What is wrong, a line each, that names files and rows; empty if nothing is.
        """
        return upkeep.find_damage(self)

    def compact(self) -> None:
        """Join what many commits have left, bring the index of vectors up to date, and drop versions older than an hour."""
        self.store.compact()

    def stats(self) -> dict[str, Any]:
        """Figures: videos, segments, bytes, models, columns of your own, videos that cannot be read."""
        models = {role: getattr(self.settings, role) for role in ROLES}
        return {
            "uri": self.store.uri,
            "root": self.settings.root,
            "videos": len(self),
            "segments": self.store.count(),
            **{role: None if model is None else model.name for role, model in models.items()},
            "distilled": self.store.read_setting(HEADS) is not None,
            "metadata": {
                name: str(self.store.schema.field(name).type) for name in rows.metadata_names(self.store.schema)
            },
            "failed": len(self.store.setting_names(upkeep.FAILED)),
            **self.store.describe(),
        }

    @property
    def failed(self) -> dict[str, str]:
        """Videos that could not be read, and why."""
        return {video: about["cause"] for video, about in upkeep.read_failures(self).items()}

    def to_dataset(self, columns: Sequence[str] | None = None, where: Filter | None = None):
        """
        Rows as a [`~datasets.Dataset`].

        Args:
            columns (`list[str]`, *optional*): By default facts, metadata and the vector.
            where (`Filter`, *optional*): Which rows.
        """
        from datasets import Dataset

        schema = self.store.schema
        if columns is None:
            own = [rows.VECTOR] if rows.VECTOR in schema.names else []
            columns = [*rows.FACTS.names, *rows.metadata_names(schema), *own]
        if unknown := [name for name in columns if name not in schema.names]:
            raise SearchIndexError(f"There is no column {unknown[0]!r}. {did_you_mean(unknown[0], schema.names)}")
        if where is not None:
            check(where, schema)
        wanted = pa.schema([schema.field(name).remove_metadata() for name in columns])
        batches = [batch.select(columns).cast(wanted) for batch in self.store.scan(columns, where)]
        return Dataset(pa.Table.from_batches(batches, schema=wanted))

    # Search ------------------------------------------------------------------------------------------------------

    def search(
        self,
        query: Any,
        top_k: int = 10,
        *,
        shortlist: int | None = SHORTLIST,
        rerank: int | None = RERANK,
        where: Filter | None = None,
        exhaustive: bool = False,
        min_score: float | None = None,
        locate: bool | None = None,
        look_into: int = LOOK_INTO,
    ) -> SearchHits:
        """
        The videos that fit a query.

        Args:
            query: A text; or, to find what is like it, the path of a video or a picture (`pathlib.Path`), a PIL image, or a vector.
            top_k (`int`, *optional*, defaults to 10): Most videos.
            shortlist (`int`, *optional*, defaults to 200): Videos that are scored exactly; `None`: all.
            rerank (`int`, *optional*, defaults to 50): Of these, those that the reranker scores, too, where there are several models; at least
                `top_k`. `None`: the whole shortlist.
            where (`Filter`, *optional*): Only segments that fit, such as `field("duration_s") < 600`.
            exhaustive (`bool`, *optional*, defaults to `False`): Score all by the last model: exact, and slow.
            min_score (`float`, *optional*): Leave out what scores less.
            locate (`bool`, *optional*): Whether the locator tells the seconds; by default if there is one, and the query is a text.
            look_into (`int`, *optional*, defaults to 5): Of a video with several segments, the locator looks into so many, the best ones, and
                tells the best moment of all.

        Returns:
            [`SearchHits`]: A list of [`VideoHit`], best first, with `stages` and `nothing_fits`.

        Raises:
            SearchIndexError: If an option is out of range, the filter does not fit the columns, or the index cannot answer such a query.
            FingerprintError: If a model is not the one that the index was made with.
        """
        counts = {"top_k": top_k, "shortlist": shortlist, "rerank": rerank, "look_into": look_into}
        for name, number in counts.items():
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
                raise SearchIndexError(f"{name}: expected a whole number of at least 1, got {number!r}.")
        if isinstance(query, str) and not query.strip():
            raise SearchIndexError("Expected words, got none.")
        if where is not None:
            check(where, self.store.schema)
        cascade = self._cascade_now()
        text = query if isinstance(query, str) else None
        vector = self._vector_of(query)
        threshold = None if text is None else self.settings.thresholds.get(cascade.last)  # other queries have cosines
        is_last = text is None or (cascade.exact is None and cascade.reranker is None)  # nobody scores more exactly
        shortlist = None if shortlist is None else top_k if is_last else max(shortlist, top_k)
        if cascade.exact is None or rerank is None:  # a single model scores the whole shortlist
            rerank = shortlist
        found, stages = cascade.find(
            text, vector, shortlist, None if rerank is None else max(rerank, top_k), where, exhaustive
        )
        best = float(found.scores[0]) if len(found) else None
        if min_score is not None:
            found = found.take([place for place, score in enumerate(found.scores) if score >= min_score])
        segments, found = found, found.best_of_videos()
        hits = self._describe(found.take(range(len(found))[:top_k]), cascade)
        if locate is None:
            locate = text is not None and self._has("locator")
        if locate:
            if text is None or self.locator is None:
                raise SearchIndexError("locate: expected a text as the query, and an index with a locator.")
            places = self._places_to_look(hits, segments, cascade, look_into, vector, where)
            with cascade.timed(stages, "moment", None, (sum(map(len, places)), len(hits))):
                hits = [self._locate(text, hit, of_hit) for hit, of_hit in zip(hits, places, strict=True)]
        return SearchHits(hits, stages, threshold, best)

    def _has(self, role: str) -> bool:
        return role in self._given or getattr(self.settings, role) is not None

    def _cascade_now(self) -> Cascade:
        """The stages over the rows as they are now: what is written meanwhile does not mix with them."""
        return self.cascade.at(self.store.snapshot())

    def _vector_of(self, query: Any) -> np.ndarray | None:
        """The vector of a query, if vectors order first."""
        from clipbert.search.queries import query_vector

        encoder = self.cascade.encoder
        if encoder is None:
            if not isinstance(query, str):
                raise SearchIndexError(
                    "The index has no vectors: it is searched by texts alone. `clipbert index distill` makes some."
                )
            return None
        return query_vector(encoder, query)

    def _describe(self, found: Candidates, cascade: Cascade) -> list[VideoHit]:
        """Hits of segments."""
        if not len(found):
            return []
        own = [name for name in cascade.columns if name not in OF_HITS]
        known = found.rows
        if not known.keys() >= set(found.ids):
            table = cascade.store.take(found.ids, ["id", *cascade.columns])
            check_complete(table, found.ids)
            known = {row["id"]: row for row in table.to_pylist()}
        seconds = [None] * len(found) if found.odds is None else found.source.seconds(found.ids)
        hits = []
        for place, segment in enumerate(found.ids):
            row = known[segment]
            span, clips = (row["start_s"], row["end_s"]), []
            if found.odds is not None:
                clips = list_clips(seconds[place], found.odds[place])
                span = best_span(seconds[place], found.odds[place])
            stages = {
                name: float(values[place]) for name, values in found.stages.items() if not np.isnan(values[place])
            }
            hits.append(
                VideoHit(
                    video_id=found.video_ids[place],
                    path=self.path_of(found.video_ids[place]),
                    score=float(found.scores[place]),
                    start_s=span[0],
                    end_s=span[1],
                    clips=clips,
                    stages=stages,
                    metadata={name: row[name] for name in own},
                    segment_s=(row["start_s"], row["end_s"]),
                    duration_s=row["duration_s"],
                )
            )
        return hits

    def _places_to_look(
        self,
        hits: Sequence[VideoHit],
        found: Candidates,
        cascade: Cascade,
        look_into: int,
        vector: np.ndarray | None,
        where: Filter | None,
    ) -> list[list[tuple[float, float]]]:
        """Of each hit the segments in which its moment may be, in seconds: the best of those that were found, then the nearest."""
        chosen: dict[str, list[str]] = {hit.video_id: [] for hit in hits}
        for segment, video in zip(found.ids, found.video_ids, strict=True):
            if len(chosen.get(video, range(look_into))) < look_into:
                chosen[video].append(segment)
        for hit in hits:
            if vector is None or not _is_part(hit) or len(chosen[hit.video_id]) == look_into:
                continue
            of_video = field("video_id") == hit.video_id
            nearest = cascade.store.nearest(
                vector, look_into, ["id"], of_video if where is None else of_video & where, exact=True
            )
            both = dict.fromkeys([*chosen[hit.video_id], *nearest["id"].to_pylist()])
            chosen[hit.video_id] = list(both)[:look_into]
        ids = [segment for of_video in chosen.values() for segment in of_video]
        table = cascade.store.take(ids, ["id", "start_s", "end_s"])
        check_complete(table, ids)
        seconds = {row["id"]: (row["start_s"], row["end_s"]) for row in table.to_pylist()}
        return [[seconds[segment] for segment in chosen[hit.video_id]] for hit in hits]

    def _locate(self, text: str, hit: VideoHit, segments: Sequence[tuple[float, float]]) -> VideoHit:
        """A hit with the seconds of the text, looked for in its segments and somewhat around them."""
        spans = [None]
        if _is_part(hit):
            around = [LOOK_AROUND * (end_s - start_s) for start_s, end_s in segments]
            spans = [
                Span(max(start_s - more, 0.0), min(end_s + more, hit.duration_s))
                for (start_s, end_s), more in zip(segments, around, strict=True)
            ]
        start_s, end_s, score = self.locator.locate(text, hit.path, *spans)
        segment_s = max(segments, key=lambda segment: min(end_s, segment[1]) - max(start_s, segment[0]))
        stages = {**hit.stages, "moment": score}
        return replace(hit, start_s=start_s, end_s=end_s, segment_s=segment_s, stages=stages)

    # What is lost, and what fits ---------------------------------------------------------------------------------

    def evaluate_shortlist(
        self,
        texts: Sequence[str] | None = None,
        shortlists: Sequence[int] = (10, 50, 100, 200),
        *,
        owners: Sequence[str] | None = None,
        where: Filter | None = None,
    ) -> "ShortlistReport":
        """
        What shortlists lose against scoring everything, and what they save.

        Args:
            texts (`list[str]`, *optional*): Sentences; by default the first caption of each video, as the column `caption` has it: each is
                compared with everything.
            shortlists (`list[int]`, *optional*, defaults to `(10, 50, 100, 200)`): Lengths.
            owners (`list[str]`, *optional*): For each sentence the id of its video.
            where (`Filter`, *optional*): Only segments that fit.

        Returns:
            [`ShortlistReport`]: First places and top 10 that are kept, R@k where owners are known, seconds of a query, with intervals;
            `recommended` is the smallest that keeps 99 % of the first places.

        Raises:
            SearchIndexError: If there are no sentences, or nothing to search.
        """
        from clipbert.search.shortlists import measure_losses

        if where is not None:
            check(where, self.store.schema)
        if texts is None:
            texts, owners = self._captions(where)
        texts = list(texts)
        if not texts or not self.store.count(where):
            raise SearchIndexError("Expected sentences, and videos in the index: there are none.")
        cascade = self._cascade_now()
        seconds = {size: self._time(cascade, texts[:TIMED], size, where) for size in (*shortlists, None)}
        rankings = (
            self._rank_by_both(cascade, text, owner, where)
            for text, owner in zip(texts, owners or [None] * len(texts), strict=True)
        )
        return measure_losses(rankings, shortlists, seconds)

    def _captions(self, where: Filter | None = None, every: bool = False) -> tuple[list[str], list[str]]:
        """Captions, the first of each video or every one, and the ids of their videos."""
        names = self.store.schema.names
        if CAPTION not in names:
            raise SearchIndexError("The index has no column `caption`: pass sentences, or add metadata that has one.")
        first = field("segment") == 0
        columns = ["video_id", CAPTION, *([CAPTIONS] if every and CAPTIONS in names else [])]
        batches = self.store.scan(columns, first if where is None else first & where)
        found = sorted(
            (row["video_id"], text)
            for batch in batches
            for row in batch.to_pylist()
            for text in row.get(CAPTIONS) or [row[CAPTION]]
            if text
        )
        return [caption for _, caption in found], [video for video, _ in found]

    def _time(self, cascade: Cascade, texts: Sequence[str], shortlist: int | None, where: Filter | None) -> float:
        """Seconds of a search, by the clock; of some texts the mean."""
        started = time.perf_counter()
        for text in texts:
            cascade.find(text, self._vector_of(text), shortlist, None, where, exhaustive=shortlist is None)
        return (time.perf_counter() - started) / len(texts)

    def _rank_by_both(self, cascade: Cascade, text: str, owner: str | None, where: Filter | None) -> "TextRanking":
        """The videos by the last stage and by the first one."""
        from clipbert.search.shortlists import TextRanking

        vector = self._vector_of(text)
        exact, _ = cascade.find(text, vector, None, None, where, exhaustive=True)
        exact, first = exact.best_of_videos(), cascade.first_order(text, vector, None, where).best_of_videos()
        return TextRanking(exact.video_ids, exact.scores, first.video_ids, owner)

    def distill(
        self,
        texts: Sequence[str] | None = None,
        *,
        min_first_kept: float | None = None,
        seed: int = 0,
        **options: Any,
    ) -> "DistillationReport":
        """
        Give the index of a model without vectors, such as ClipBERT, vectors for its shortlists: two small heads learn its scores.

        Args:
            texts (`list[str]`, *optional*): Sentences as people will search with; by default all captions of the videos.
            min_first_kept (`float`, *optional*): Share of first places that the heads have to keep among held-out texts and videos to be used;
                0.9 unless it was said before.
            seed (`int`, *optional*, defaults to 0): Of what is held out, and of the training.
            options: Of [`~search.distillation.distil`]: `steps`, `max_pairs`, `width`, ...

        Returns:
            [`DistillationReport`]: How it was done, and what is lost.

        Raises:
            SearchIndexError: If the index has vectors of an encoder, keeps no clips, holds too little to learn from, or the heads lose too much;
                then it stays as it was.
        """
        from clipbert.search.distillation import distil
        from clipbert.search.distilled import DistilledEncoder

        if self._has("encoder") or self.reranker is None or not self.settings.keep_clips:
            raise SearchIndexError("distill: expected an index of a reranker alone that keeps its clips.")
        owners = None
        if texts is None:
            texts, owners = self._captions(every=True)
        found = self._sample(seed)
        numbers = {video: number for number, video in enumerate(found.video_ids)}
        if owners is not None and not numbers.keys() >= set(owners):
            owners = None  # of a sample it is not known what is found
        parts = self.cascade.reranker.load(found.ids)
        heads, report = distil(
            self.reranker,
            texts,
            parts.parts,
            parts.mask,
            owners=None if owners is None else [numbers[video] for video in owners],
            seed=seed,
            **options,
        )
        limit = self.settings.min_first_kept if min_first_kept is None else min_first_kept
        encoder = DistilledEncoder(heads, self.reranker, limit)  # or it is refused
        self.store.delete_settings([HEADS])  # while old and new vectors stand beside each other, none are used
        self.settings.min_first_kept = limit
        self.store.write_setting(SETTING, self._stored_settings(min_first_kept=limit))
        upkeep.fill_vectors(self, encoder)
        self.store.ensure_index()
        self.store.write_setting(HEADS, encoder.to_bytes())
        for name in ("heads", "cascade"):
            self.__dict__.pop(name, None)
        return report

    def _sample(self, seed: int) -> Candidates:
        """The first segments of videos, as many as lie in memory well."""
        found = self.cascade.everything(field("segment") == 0)
        count = max(MIN_SAMPLE, SAMPLE_BYTES // max(self.bytes_per_segment(), 1))
        places = np.random.default_rng(seed).permutation(len(found))[:count]
        return found.take(sorted(places.tolist()))

    def calibrate(self, texts: Sequence[str], quantile: float = 0.95, **options: Any) -> float:
        """
        Learn from sentences that belong to nothing in the collection when nothing fits.

        Args:
            texts (`list[str]`): Such sentences, the more the better; some dozens at least.
            quantile (`float`, *optional*, defaults to 0.95): The share of them whose best score is to lie below the threshold.
            options: Of [`VideoIndex.search`].

        Returns:
            `float`: The threshold, which is kept in the index.

        Raises:
            SearchIndexError: If there are no sentences, or the quantile is no share.
        """
        texts = list(texts)
        if not texts or not 0 < quantile <= 1:
            raise SearchIndexError(f"Expected sentences and a share of them, got {len(texts)} and {quantile}.")
        best = [self.search(text, top_k=1, locate=False, **options).best for text in texts]
        if None in best:
            raise SearchIndexError("There is nothing in the index.")
        threshold = float(np.quantile(best, quantile))
        self.settings.thresholds[self.cascade.last] = threshold
        self.store.write_setting(SETTING, self._stored_settings(thresholds=self.settings.thresholds))
        return threshold

    def _stored_settings(self, **changed: Any) -> bytes:
        """The settings as they lie in the store, with some of them changed: a root that was given to `open` is not written."""
        settings = IndexSettings.from_bytes(self.store.read_setting(SETTING), self.store.uri)
        return replace(settings, **changed).to_bytes()


def _is_part(hit: VideoHit) -> bool:
    """Whether the segment of a hit is not the whole video."""
    return hit.segment_s != (0.0, hit.duration_s)


def _clean_root(root: str | os.PathLike) -> str:
    """A root as it is kept: an address as it is, a folder from `/` on."""
    root = os.fspath(root)
    return root if "://" in root else os.path.abspath(root)


def _clean_model(name: str) -> str:
    """The name of a model as it is kept: a folder from `/` on, so that it is found from elsewhere."""
    return os.path.abspath(name) if os.path.isdir(name) else name


__all__ = ["VideoIndex"]
