"""The boundary of one image: an exception refuses the image, a fault of the computer does not."""

import errno
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from acquisition.daemon_threads import DaemonThreads
from daemon.alerts import Alerts
from daemon.pipeline import ImagePath
from daemon.plate_runs import PlateRuns
from daemon.rolling_view import RollingView
from daemon.tissue_analysis import TissueMethod
from inference.departure.departure_settings import DepartureSettings
from inference.ports import Encoder
from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.condition import ConditionSettings
from schemas.errors import ImageError, MachineError, StoreError
from schemas.messages import DayDeparture, ObservationData
from schemas.observation import Observation, Outcome
from schemas.plate_map import PlateMap
from schemas.quality import Flag
from schemas.ranking import Condition, Ranking
from schemas.tissue import Segmentation, Unsure
from schemas.well_image import Rejected, WellImage
from store.sql_store import SqlStore
from tests import samples
from tests.stored import all_ended_files

NOW = datetime(2026, 11, 16, 9, tzinfo=UTC)


@dataclass(frozen=True)
class ConstantEncoder:
    """An encoder that gives every image the same embedding, or raises an exception."""

    error: Exception | None = None
    encoder_id: str = "constant"
    dimension: int = 1
    embedded_part: str | None = None

    def crop(self, image: WellImage) -> str | None:
        del image
        return self.embedded_part

    def embed(self, image: WellImage, sharpest_plane: int) -> npt.NDArray[np.float32]:  # noqa: ARG002 - part of the port
        if self.error is not None:
            raise self.error
        return np.zeros(1, np.float32)


class FailingView(RollingView):
    """A rolling view whose departures raise an exception."""

    def departures(
        self, newest: Sequence[Observation], plate_map: PlateMap | None
    ) -> list[tuple[DayDeparture, ...]]:
        del newest, plate_map
        raise np.linalg.LinAlgError("singular matrix")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    store = SqlStore(f"sqlite:///{tmp_path}/store.sqlite")
    yield store
    store.close()


def image_path(
    store: SqlStore, encoder: Encoder, view: type[RollingView] = RollingView
) -> ImagePath:
    return ImagePath(
        encoder,
        TissueMethod(ClassicalSegmenter()),
        ConditionSettings(),
        store,
        view(store, "measures", 0.0, DepartureSettings()),
        PlateRuns(store, timedelta(hours=6), Alerts(store, lambda: NOW)),
        lambda: NOW,
    )


def process(path: ImagePath, image: WellImage, plate_map: PlateMap | None) -> Outcome:
    """Analyse and process an image on this thread."""
    outcome = path.process(image, partial(path.analyse, image), plate_map)
    if isinstance(outcome, Rejected):
        assert outcome.files == image.files
        return Outcome.REJECTED
    return outcome


class ThreadNotingEncoder(ConstantEncoder):
    """An encoder that keeps the name of the thread of each call."""

    threads: ClassVar[list[str]] = []

    def embed(self, image: WellImage, sharpest_plane: int) -> npt.NDArray[np.float32]:
        self.threads.append(threading.current_thread().name)
        return super().embed(image, sharpest_plane)


UNEXPECTED = [ZeroDivisionError("float division by zero"), OverflowError("date"), KeyError("a")]
EXPECTED = [ImageError("B02", "200×100 pixels; expected at least 300")]
FAULTS = [
    MemoryError(),
    TimeoutError("share"),
    RuntimeError("std::bad_alloc"),
    *(OSError(number, "failed") for number in (errno.ENOSPC, errno.EIO, errno.ESTALE)),
]


@pytest.mark.parametrize("error", UNEXPECTED + EXPECTED, ids=repr)
def test_an_image_that_raises_an_exception_is_refused_with_the_reason(
    store: SqlStore, error: Exception
) -> None:
    image = samples.well_image()
    assert process(image_path(store, ConstantEncoder(error)), image, None) is Outcome.REJECTED
    refused = store.rejected()
    assert {file.path for file in refused} == {file.path for file in image.files}
    name = "200×100 pixels" if isinstance(error, ImageError) else type(error).__name__
    assert all(name in file.reason for file in refused)


@pytest.mark.parametrize("error", FAULTS, ids=repr)
def test_a_fault_of_the_computer_records_nothing(store: SqlStore, error: Exception) -> None:
    with pytest.raises(MachineError):
        process(image_path(store, ConstantEncoder(error)), samples.well_image(), None)
    assert list(all_ended_files(store)) == []
    assert store.rejected() == []


def test_a_fault_that_caused_another_exception_is_recognised(store: SqlStore) -> None:
    error = ValueError("cannot convert")
    error.__cause__ = OSError(errno.EIO, "Input/output error")
    with pytest.raises(MachineError):
        process(image_path(store, ConstantEncoder(error)), samples.well_image(), None)


def test_an_error_of_the_store_is_no_fault_of_the_image(store: SqlStore) -> None:
    with pytest.raises(StoreError):
        process(
            image_path(store, ConstantEncoder(StoreError("db", "locked"))),
            samples.well_image(),
            None,
        )
    assert store.rejected() == []


@pytest.mark.parametrize("shape", [(3, 0, 64), (3, 64, 0), (0, 64, 64), (3, 15, 64)])
def test_planes_that_are_too_small_to_measure_are_refused(
    store: SqlStore, shape: tuple[int, int, int]
) -> None:
    image = samples.well_image(planes=np.zeros(shape, np.uint16))
    assert process(image_path(store, ConstantEncoder()), image, None) is Outcome.REJECTED


def test_an_image_is_stored_when_the_departures_of_its_plate_fail(store: SqlStore) -> None:
    path = image_path(store, ConstantEncoder(), FailingView)
    plate_map = samples.plate_map()
    assert process(path, samples.well_image(day=8), plate_map) is Outcome.STORED


def test_images_that_are_processed_together_are_stored_in_order(store: SqlStore) -> None:
    path = image_path(store, ConstantEncoder())
    wells = ("B03", "B02", "B04")
    images = [samples.well_image(well=well) for well in wells]
    analysed = [(image, partial(path.analyse, image)) for image in images]
    assert path.process_together(analysed, None) == [Outcome.STORED] * 3
    bodies = [json.loads(each.body)["data"] for each in store.messages_after(0)]
    assert [each["well"] for each in bodies] == list(wells)
    again = [*analysed[:1], (samples.well_image(well="C02"), analysed[0][1])]
    assert path.process_together(again, None) == [Outcome.DUPLICATE, Outcome.STORED]


def test_an_image_with_an_error_undoes_none_that_is_processed_with_it(store: SqlStore) -> None:
    path = image_path(store, ConstantEncoder())
    good = samples.well_image(well="B02")
    bad = samples.well_image(well="B03", planes=np.zeros((3, 15, 64), np.uint16))
    with pytest.raises(ImageError):
        path.process_together([(each, partial(path.analyse, each)) for each in (good, bad)], None)
    assert list(all_ended_files(store)) == []
    outcomes = [process(path, image, None) for image in (good, bad)]
    assert outcomes == [Outcome.STORED, Outcome.REJECTED]


def test_an_image_is_compared_with_the_scales_of_those_that_are_stored_with_it(
    store: SqlStore,
) -> None:
    path = image_path(store, ConstantEncoder())
    scales = {"B02": 1.36, "B03": 1.36, "B04": 2.0}
    images = [samples.well_image(well=well, um_per_px=scale) for well, scale in scales.items()]
    path.process_together(
        [(each, partial(path.analyse, each)) for each in images],
        samples.plate_map(um_per_px=None),
    )
    stored = store.observations(store.imaged(samples.PLATE, "constant"), "constant")
    disagrees = [Flag.SCALE_DISAGREES in each.quality.flags for each in stored]
    assert disagrees == [False, False, True]


@dataclass(frozen=True)
class ConstantSegmenter:
    """A segmenter that returns the same body, (64, 64), and doubts for every image."""

    body: npt.NDArray[np.bool_]
    unsure: tuple[Unsure, ...]

    segmenter_id: ClassVar[str] = "drawn-1"

    def segment(self, plane: npt.NDArray[np.uint16], um_per_px: float | None) -> Segmentation:
        del um_per_px
        empty = np.zeros(plane.shape, bool)
        return Segmentation(self.body, empty, np.full((2, 2), 30000, np.float32), self.unsure)


def processed(store: SqlStore, segmenter: ConstantSegmenter) -> tuple[Observation, ObservationData]:
    """Process one image with a segmenter; return the stored observation and its message."""
    path = replace(image_path(store, ConstantEncoder()), tissue=TissueMethod(segmenter))
    assert process(path, samples.well_image(), None) is Outcome.STORED
    [stored] = store.observations(store.imaged(samples.PLATE, "constant"), "constant")
    [message] = store.messages_after(0)
    return stored, ObservationData(**json.loads(message.body)["data"])


def test_a_refused_image_is_stored_without_measures_and_condition(store: SqlStore) -> None:
    refusing = ConstantSegmenter(np.zeros((64, 64), bool), (Unsure.FAINT, Unsure.NO_BACKGROUND))
    stored, message = processed(store, refusing)
    assert stored.is_refused
    assert (stored.measures, message.measures) == ({}, {})
    assert stored.unsure == message.unsure == (Unsure.FAINT, Unsure.NO_BACKGROUND)
    assert (message.condition, message.explosion_degree) == (None, None)


def test_an_empty_well_is_measured_and_not_refused(store: SqlStore) -> None:
    stored, message = processed(store, ConstantSegmenter(np.zeros((64, 64), bool), (Unsure.FAINT,)))
    assert not stored.is_refused
    assert stored.measures["area_um2"] == message.measures["area_um2"] == 0
    assert (message.condition, message.unsure) == (None, (Unsure.FAINT,))


def test_tissue_with_doubts_is_measured_and_its_message_has_the_doubts(store: SqlStore) -> None:
    body = np.zeros((64, 64), bool)
    body[20:40, 20:40] = True
    stored, message = processed(store, ConstantSegmenter(body, (Unsure.UNEVEN,)))
    assert stored.measures["area_um2"] == pytest.approx(400 * 1.36**2)
    assert (message.condition, message.unsure) == (Condition.INTACT, (Unsure.UNEVEN,))


def test_an_image_with_many_bodies_is_stored_and_published_as_crowded(store: SqlStore) -> None:
    body = np.zeros((64, 64), bool)
    for row in (8, 28, 48):
        for column in (8, 28, 48):
            body[row : row + 6, column : column + 6] = True
    stored, message = processed(store, ConstantSegmenter(body, ()))
    assert stored.measures["pieces"] == 9
    assert Flag.CROWDED in stored.quality.flags
    assert Flag.EMPTY not in stored.quality.flags
    assert message.flags == stored.quality.flags


def test_a_message_from_before_doubts_were_sent_has_none() -> None:
    message = samples.observation_data(samples.observation())
    old = message.model_dump_json(exclude={"unsure"})
    assert ObservationData.model_validate_json(old).unsure == ()
    ranking = samples.ranking().model_dump(mode="json")
    for row in ranking["wells"]:
        del row["unsure"]
    assert {row.unsure for row in Ranking.model_validate(ranking).wells} == {()}


@pytest.mark.parametrize("is_free", [True, False])
def test_the_embedding_is_computed_once_by_a_free_thread_or_else_by_the_thread_of_the_image(
    store: SqlStore, *, is_free: bool
) -> None:
    ThreadNotingEncoder.threads.clear()
    pool, may_end = DaemonThreads(1, "pool"), threading.Event()
    if is_free:
        may_end.set()
    pool.submit(may_end.wait, 10.0)
    path = image_path(store, ThreadNotingEncoder())
    found = path.analyse(samples.well_image(), pool)
    may_end.set()
    pool.shutdown()
    alone = path.analyse(samples.well_image())
    own = threading.current_thread().name
    assert ThreadNotingEncoder.threads == ["pool_0" if is_free else own, own]
    assert np.array_equal(found.embedding, alone.embedding)
    assert (found.quality, found.measures) == (alone.quality, alone.measures)


def test_an_error_of_the_encoder_on_another_thread_is_that_of_the_image(store: SqlStore) -> None:
    pool = DaemonThreads(1, "pool")
    path = image_path(store, ConstantEncoder(error=EXPECTED[0]))
    with pytest.raises(ImageError, match="expected at least 300"):
        path.analyse(samples.well_image(), pool)
    pool.shutdown()
